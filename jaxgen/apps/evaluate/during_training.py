"""Evaluate a model at intervals of its training, and find its best step."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

from etils import epath
from jax.sharding import Mesh

from jaxgen.apps.config import Config
from jaxgen.apps.evaluate import results
from jaxgen.apps.evaluate.evaluator import make_evaluator
from jaxgen.apps.evaluate.generated import generated_set
from jaxgen.apps.trained import Trained
from jaxgen.io.files import visible, write_json
from jaxgen.io.run_directory import EVALUATION_IN_TRAINING, is_finite
from jaxgen.methods.base import Method
from jaxgen.training.sampling import SamplePipeline
from jaxgen.types import JsonObject, PyTree

METRICS = ('fid', 'kid')


class DuringTraining:
    """An evaluation of the samples of a run while it trains, which writes ``evaluation/training/<step>.json``.

    The samples come from the same stream of random keys as the grids of training. Report the metrics of ``--mode=evaluate``,
    which generates other samples, since the best step was chosen by these ones and may owe its rank to them.
    """

    def __init__(self, config: Config, method: Method, mesh: Mesh, class_names: tuple[str, ...], workdir: epath.Path):
        self._about, self._workdir = (config, method, mesh, class_names), workdir
        self.every, self._num = cast(int, config.evaluation.every), config.evaluation.num
        self._evaluator = make_evaluator(config, mesh, METRICS)
        self._evaluator.reference_features()  # before training, which waits for an evaluation

    def has(self, step: int) -> bool:
        """Return whether a step has been evaluated already."""
        path = self._path(step)
        return path.exists() and results.read(path) is not None

    def __call__(
        self, pipeline: SamplePipeline, model: PyTree, step: int, tick: Callable[[], None]
    ) -> tuple[dict[str, float], bool]:
        """Evaluate a model; return its metrics, and whether its FID is lower than that of every earlier step."""
        config, method, mesh, class_names = self._about
        trained = Trained(config, method, mesh, step, model, class_names)
        result = self._evaluator(generated_set(trained, pipeline, self._num), tick)
        write_json(self._path(step), result)
        before = [row['fid'] for row in read(self._workdir) if row['step'] < step]
        return {name: result[name] for name in METRICS}, all(result['fid'] < fid for fid in before)

    def _path(self, step: int) -> epath.Path:
        return self._workdir / EVALUATION_IN_TRAINING / f'{step}.json'


def read(workdir: epath.Path) -> list[JsonObject]:
    """Return the results of all evaluations during the training of a run in order, each with its ``step``.

    Incomplete files, and results without a finite FID, are left out.
    """
    folder = workdir / EVALUATION_IN_TRAINING
    files = visible(folder, '*.json')
    by_step = {int(path.stem): path for path in files if re.fullmatch('[0-9]{1,10}', path.stem)}
    found = ((step, results.read(path)) for step, path in sorted(by_step.items()))
    return [result | {'step': step} for step, result in found if result is not None and is_finite(result.get('fid'))]
