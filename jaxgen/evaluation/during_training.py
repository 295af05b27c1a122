"""Figures at intervals of a training run, and whether a step is the best so far."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxgen.evaluation.evaluate import Evaluator
from jaxgen.evaluation.generated import sampled_set
from jaxgen.files import write_atomically
from jaxgen.training.family import Family
from jaxgen.training.sampling import Sampler

METRICS = ('fid', 'kid')
FOLDER = 'evaluation/training'  # in a workdir: <step>.json each


class Progress:
    """Evaluates the images that a run's own sampler draws, and writes ``evaluation/training/<step>.json``.

    They come from the seed of the run: a figure to be quoted is that of ``--mode=evaluate``, which draws others, so
    that a step chosen for its luck with these is found out.
    """

    def __init__(
        self, config: ConfigDict, family: Family, mesh: Mesh, class_names: tuple[str, ...], workdir: epath.Path
    ):
        self._config, self._family, self._class_names = config, family, class_names
        self._folder = workdir / FOLDER
        self._evaluator = Evaluator(config, mesh, METRICS)

    def has(self, step: int) -> bool:
        return (self._folder / f'{step}.json').exists()

    def __call__(
        self, sampler: Sampler, model: Any, step: int, tick: Callable[[], None]
    ) -> tuple[dict[str, float], bool]:
        """The figures, and whether the FID is below that of every evaluated step before."""
        c = self._config
        images = sampled_set(c, self._family, sampler, model, step, c.evaluation.num, c.seed, self._class_names)
        result = self._evaluator(images, tick)
        write_atomically(self._folder / f'{step}.json', (json.dumps(result, indent=2) + '\n').encode())
        before = [row['fid'] for row in read(self._folder.parent.parent) if row['step'] < step]
        return {name: result[name] for name in METRICS}, all(result['fid'] < fid for fid in before)


def read(workdir: epath.Path) -> list[dict[str, Any]]:
    """The results of a run's evaluations in training, each with its ``step``, in order."""
    folder = workdir / FOLDER
    files = sorted(folder.glob('*.json'), key=lambda p: int(p.stem)) if folder.exists() else []
    return [{'step': int(p.stem)} | json.loads(p.read_text()) for p in files]
