"""Figures at intervals of a training run, and whether a step is the best so far."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxgen.apps.evaluate.evaluator import Evaluator
from jaxgen.apps.evaluate.generated import generated_set
from jaxgen.apps.restore import Trained
from jaxgen.io.files import write_json
from jaxgen.methods.base import Family
from jaxgen.training.sampling import SamplePipeline

METRICS = ('fid', 'kid')
FOLDER = 'evaluation/training'  # in a workdir: <step>.json each


class DuringTraining:
    """Evaluates the images that a run's own sampler draws, and writes ``evaluation/training/<step>.json``.

    They come from the stream of training's own samples: a figure to be quoted is that of ``--mode=evaluate``, which
    draws others, so that a step chosen for its luck with these is found out.
    """

    def __init__(
        self, config: ConfigDict, family: Family, mesh: Mesh, class_names: tuple[str, ...], workdir: epath.Path
    ):
        self._about, self._workdir = (config, family, mesh, class_names), workdir
        self.every, self._num = config.evaluation.every, config.evaluation.num
        self._evaluator = Evaluator(config, mesh, METRICS)

    def has(self, step: int) -> bool:
        return self._path(step).exists()

    def __call__(
        self, pipeline: SamplePipeline, model: Any, step: int, tick: Callable[[], None]
    ) -> tuple[dict[str, float], bool]:
        """The figures, and whether the FID is below that of every evaluated step before."""
        config, family, mesh, class_names = self._about
        trained = Trained(config, family, mesh, step, model, class_names)
        result = self._evaluator(generated_set(trained, pipeline, self._num), tick)
        write_json(self._path(step), result)
        before = [row['fid'] for row in read(self._workdir) if row['step'] < step]
        return {name: result[name] for name in METRICS}, all(result['fid'] < fid for fid in before)

    def _path(self, step: int) -> epath.Path:
        return self._workdir / FOLDER / f'{step}.json'


def read(workdir: epath.Path) -> list[dict[str, Any]]:
    """The results of a run's evaluations in training, each with its ``step``, in order."""
    folder = workdir / FOLDER
    files = sorted(folder.glob('*.json'), key=lambda p: int(p.stem)) if folder.exists() else []
    return [{'step': int(p.stem)} | json.loads(p.read_text()) for p in files]
