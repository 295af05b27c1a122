"""Evaluation while a model trains, and the checkpoint of the best step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import jax
from etils import epath

from jaxgen.runtime.preemption import StopSignals
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.sampling import SamplePipeline
from jaxgen.training.state import TrainState
from jaxgen.types import PyTree


class Evaluation(Protocol):
    """A function that evaluates the images that a pipeline samples with the model of a step.

    Attributes:
      every: steps between two evaluations.
    """

    every: int

    def __call__(
        self, pipeline: SamplePipeline, model: PyTree, step: int, tick: Callable[[], None]
    ) -> tuple[dict[str, float], bool]:
        """Return the metrics, and whether this step is the best so far.

        Args:
          pipeline: samples the images.
          model: the full model of the method.
          step: the step of the model.
          tick: to be called often; it raises an exception when a signal ends the run.
        """

    def has(self, step: int) -> bool:
        """Return whether a step has been evaluated."""


class SaveHook(Protocol):
    """A function that is called before each checkpoint is written."""

    def __call__(self, model: PyTree) -> None:
        """Write further files that belong to the checkpoint.

        Args:
          model: the full model of the method.
        """


class _Interrupted(Exception):
    """An exception that ends an evaluation, which can be repeated, because a signal ends the run."""


def evaluate(
    evaluation: Evaluation, pipeline: SamplePipeline, model: PyTree, step: int, signals: StopSignals
) -> tuple[dict[str, float], bool] | None:
    """Return the result of ``evaluation``, or None if a signal interrupted it.

    Several processes are not interrupted, because all of them must do the same work to the end.
    """

    def tick() -> None:
        if signals.received and jax.process_count() == 1:
            raise _Interrupted

    try:
        return evaluation(pipeline, model, step, tick)
    except _Interrupted:
        return None


def keep_best(workdir: epath.Path, step: int, state: TrainState) -> None:
    """Replace the checkpoint in ``workdir/best`` by the one of ``step``; it is on disk when this returns.

    Nothing is written if the folder has this step or a later one: an interrupted run that repeats an evaluation finds the same
    step best.
    """
    checkpoints = Checkpoints(workdir / 'best', keep=1)
    if all(kept < step for kept in checkpoints.steps()):
        checkpoints.save(step, state)
        checkpoints.wait()
    checkpoints.close()
