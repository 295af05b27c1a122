"""The wall time of training."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple

from jaxgen.data import pipeline


class Lap(NamedTuple):
    """The part of a run between two lines of the log.

    Attributes:
      steps: number of steps.
      seconds: wall time.
      waited: the part of ``seconds`` that was spent waiting for data.
    """

    steps: int
    seconds: float
    waited: float


class Clock:
    """A clock for the wall time of training, and for the part of it that is spent waiting for data.

    Args:
      batches: the batches that training waits for.
      step: the step at which the clock starts.
    """

    def __init__(self, batches: pipeline.Prefetcher, step: int):
        self._batches = batches
        self._restart(step)

    def _restart(self, step: int) -> None:
        self._step, self._waited = step, self._batches.waited
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of the block from the measurement."""
        start = time.perf_counter()
        yield
        self._start += time.perf_counter() - start

    def lap(self, step: int) -> Lap:
        """Return the measurements since the last lap, and start the next one at ``step``."""
        steps = step - self._step
        seconds = time.perf_counter() - self._start
        waited = self._batches.waited - self._waited
        self._restart(step)
        return Lap(steps, seconds, waited)
