"""A profile of a few dispatches of training, for TensorBoard's profile plugin or Perfetto."""

from __future__ import annotations

import jax
from etils import epath

from jaxgen.types import Array

DISPATCHES = 5


class Profile:
    """A profile of training: a trace of ``DISPATCHES`` dispatches.

    Args:
      folder: the folder to which the trace is written.
      step: the step at which the trace begins; None for no profile.
      start: the step at which the run starts or resumes; there is no profile if it is past ``step``.
    """

    def __init__(self, folder: epath.Path, step: int | None, start: int):
        self._folder, self._step = folder, step
        self._remaining = DISPATCHES if step is not None and step >= start else 0
        self._running = False

    def before(self, step: int) -> None:
        """Begin the trace if it is due at the dispatch that starts at ``step``."""
        if self._step is not None and step >= self._step and self._remaining and not self._running:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, done: Array) -> bool:
        """Count the dispatch that ends when ``done`` is ready; return whether the trace is complete and written."""
        if not self._running:
            return False
        self._remaining -= 1
        if self._remaining:
            return False
        done.block_until_ready()
        self.close()
        return True

    def close(self) -> None:
        """Write the trace so far."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
