"""The parts of a training run, and the steps at which it reports and saves."""

from __future__ import annotations

import dataclasses

from etils import epath
from jax.sharding import Mesh

from jaxgen.data import Dataset
from jaxgen.errors import check
from jaxgen.methods.base import Method
from jaxgen.methods.options import SampleOptions
from jaxgen.runtime.random import root_key
from jaxgen.training.evaluation import Evaluation, SaveHook
from jaxgen.training.options import CheckpointOptions, TrainOptions
from jaxgen.training.writers import LogOptions
from jaxgen.types import Array


@dataclasses.dataclass(frozen=True)
class Plan:
    """A training run as its arguments define it; see ``Trainer``, which takes the same arguments."""

    method: Method
    dataset: Dataset
    workdir: epath.Path
    mesh: Mesh
    seed: int
    batch_size: int
    random_flip: bool
    train: TrainOptions
    sample: SampleOptions
    checkpoint: CheckpointOptions
    log: LogOptions
    snapshot_every: int
    evaluation: Evaluation | None
    on_save: SaveHook | None

    @property
    def key(self) -> Array:
        """The root key of the run."""
        return root_key(self.seed, self.train.prng)

    def check(self) -> None:
        """Refuse batches that do not divide over the devices.

        Raises:
          UserError: naming the argument.
        """
        sizes = {'batch_size': self.batch_size}
        if self.method.capabilities.samples:
            sizes['sample.batch_size'] = self.sample.batch_size
        for name, size in sizes.items():
            check(size % self.mesh.size == 0, f'{name}={size} does not divide over {self.mesh.size} devices')

    def is_due(self, every: int, start: int, end: int) -> bool:
        """Return whether a dispatch from step ``start`` to ``end`` reached a multiple of ``every``, or the last step."""
        return end // every > start // every or end == self.train.steps

    @property
    def grid_every(self) -> int | None:
        """Steps between two grids of samples; None if training writes no grids."""
        return self.sample.every if self.method.capabilities.samples else None

    def misses_evaluation(self, step: int) -> bool:
        """Return whether the run stopped before the evaluation of ``step`` was finished."""
        if not self.evaluation or not step or self.evaluation.has(step):
            return False
        k = self.train.steps_per_dispatch
        return self.is_due(self.evaluation.every, (step - 1) // k * k, step)
