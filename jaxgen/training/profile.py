"""A profile of a few dispatches of training, for TensorBoard's profile plugin or Perfetto."""

from __future__ import annotations

import jax
from etils import epath

DISPATCHES = 5


class Profile:
    """Traces ``DISPATCHES`` dispatches from ``step`` on into ``folder``; none if that is 0 or before ``start``."""

    def __init__(self, folder: epath.Path, step: int, start: int):
        self._folder, self._step = folder, step
        self._left = DISPATCHES if 0 < step >= start else 0
        self._running = False

    def before(self, step: int) -> None:
        """Of the dispatch that starts at ``step``."""
        if self._left and not self._running and step >= self._step:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, done: jax.Array) -> bool:
        """Of a dispatch that ends when ``done`` is there; whether the profile is now written."""
        if not self._running:
            return False
        self._left -= 1
        if not self._left:
            done.block_until_ready()
            self.close()
            return True
        return False

    def close(self) -> None:
        """Writes what was traced."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
