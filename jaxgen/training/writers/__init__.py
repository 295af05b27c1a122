"""The writers that show the curves and the grids of a run outside of ``metrics.jsonl`` and the terminal."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from etils import epath

from jaxgen.training.writers.options import LogOptions
from jaxgen.training.writers.tensorboard import TensorBoard
from jaxgen.training.writers.weights_and_biases import WeightsAndBiases


class Writer(Protocol):
    """A writer of the curves and images of a run; only the first of several processes writes."""

    def write_scalars(self, step: int, values: dict[str, float]) -> None:
        """Write one point of each curve."""

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Write an image, uint8 ``[H, W, C]``."""

    def close(self, is_complete: bool) -> None:
        """Wait until everything is written; ``is_complete`` says whether the run reached its last step."""


def make_writers(workdir: epath.Path, start: int, options: LogOptions) -> list[Writer]:
    """Return the writers of a run.

    Args:
      workdir: the run directory.
      start: the step at which the run starts or resumes.
      options: which writers the user wants.

    Raises:
      UserError: if Weights & Biases does not start.
    """
    writers: list[Writer] = [TensorBoard(workdir / 'tensorboard')]
    if options.wandb is not None:
        writers.append(WeightsAndBiases(workdir, start, options.wandb))
    return writers
