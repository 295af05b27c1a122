"""Grids of samples from fixed seeds, which show the progress of training."""

from __future__ import annotations

from collections.abc import Sequence

from etils import epath

from jaxgen.io import grids, images
from jaxgen.io.files import write_atomically
from jaxgen.training.log import RunLog
from jaxgen.training.sampling import SamplePipeline
from jaxgen.types import PyTree

LARGEST_GRID = 100  # images


def write_grid(
    pipeline: SamplePipeline,
    model: PyTree,
    step: int,
    *,
    num: int,
    class_names: Sequence[str],
    workdir: epath.Path,
    log: RunLog,
) -> None:
    """Sample images, with the same random keys at each call, and write ``samples/step_<step>.png``.

    Args:
      pipeline: samples the images.
      model: the full model of the method.
      step: the step of the model.
      num: number of images; at most ``LARGEST_GRID`` of them are sampled.
      class_names: the classes that the model takes as an input; empty if it takes none.
      workdir: the run directory.
      log: the log, which passes the grid on to TensorBoard and Weights & Biases.
    """
    samples, labels = pipeline(model, min(num, LARGEST_GRID))
    grid = grids.by_class(samples, labels if class_names else None, class_names, f'step {step:,}')
    path = workdir / 'samples' / f'step_{step}.png'
    write_atomically(path, images.png(grid))
    log.image(step, 'samples', grid)
    log.say(f'samples of step {step}: {path}')
