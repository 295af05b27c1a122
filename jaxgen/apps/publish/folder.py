"""The folder that is uploaded: the exported model with a card, a picture and its evaluations."""

from __future__ import annotations

import pathlib

from etils import epath

from jaxgen.apps import weights
from jaxgen.apps.demo import kept_grid
from jaxgen.apps.evaluate.results import stored_results
from jaxgen.apps.publish.card import FILE, Card
from jaxgen.apps.trained import Trained
from jaxgen.errors import check
from jaxgen.io import hub
from jaxgen.io.files import absolute, filled, write_json
from jaxgen.io.run_directory import EVALUATION
from jaxgen.types import JsonObject

FOLDER = 'runs/hub'  # the folder to which models are exported before an upload, each under its name on the Hub


def export(trained: Trained, workdir: epath.Path, repository: str, license: str, folder: str | None) -> pathlib.Path:
    """Write the files to upload: ``config.json``, ``weights.safetensors``, ``README.md``, ``samples.png``.

    The evaluations of the same step are copied to ``evaluation/``.

    Args:
      trained: the model.
      workdir: the run directory from which it was read, or a folder of the Hub's cache.
      repository: its name on the Hub, as in ``owner/name``.
      license: the identifier of its licence on the Hub.
      folder: a new folder; if not set, ``runs/hub/<owner>/<name>``, where an earlier export is replaced.

    Returns:
      The folder.

    Raises:
      UserError: if the model is fine-tuned or generates no images, or the folder contains something else.
    """
    hub.require_name(repository)
    check(trained.method.capabilities.samples, 'a model that generates no images has no card: upload another one')
    where = pathlib.Path(absolute(folder or f'{FOLDER}/{repository}'))
    is_replaced = folder is None and (where / weights.FILE).exists() and (where / FILE).exists()
    results = _results(trained, workdir)
    with filled(where, replaces=is_replaced) as temporary:
        weights.write(trained, weights.exported(trained), temporary)
        (temporary / kept_grid.FILE).write_bytes(_picture(trained, workdir))
        for name, result in results.items():
            write_json(temporary / name, result)
        is_rounded = not (workdir / weights.FILE).exists()
        card = Card(trained, repository, license, kept_grid.FILE, results, is_rounded)
        (temporary / FILE).write_text(card.text())
    return where


def _results(trained: Trained, workdir: epath.Path) -> dict[str, JsonObject]:
    """Return the evaluations of the step of a model by the path of their file."""
    found = {f'{EVALUATION}/{name}.json': result for name, result in stored_results(workdir).items()}
    return {name: one for name, one in found.items() if one['protocol']['generated'].get('step') == trained.step}


def _picture(trained: Trained, workdir: epath.Path) -> bytes:
    """Return the grid that is stored with exported weights, or else a new one."""
    kept = workdir / kept_grid.FILE
    return kept.read_bytes() if kept.exists() and (workdir / weights.FILE).exists() else kept_grid.picture(trained)
