"""Stop all processes of a run after the same step when one of them gets a signal."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxgen.runtime import progress
from jaxgen.runtime.interruption import SIGNALS, answered, end_at_once
from jaxgen.runtime.mesh import batch_sharding, replicated
from jaxgen.types import Array

PATIENCE = 5.0  # seconds that the program has to end by itself after a second Ctrl-C


class StopSignals:
    """A block that keeps the first SIGTERM or SIGINT in ``received``; a second SIGINT interrupts at once.

    Outside the main thread nothing is kept, because Python handles signals only there.

    Args:
      reply: called at once with the first signal, in another thread.
    """

    received: int | None = None

    def __init__(self, reply: Callable[[int], None] = lambda number: None):
        self._reply, self._is_answered = reply, False
        self._listening = contextlib.ExitStack()

    def __enter__(self) -> StopSignals:
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._handlers = {number: signal.signal(number, self._keep) for number in SIGNALS if in_main_thread}
        self._listening.enter_context(answered(self._answer))
        return self

    def _answer(self, number: int, ended: threading.Event) -> None:
        if not self._is_answered:
            self._is_answered = True
            self._reply(number)
        elif number == signal.SIGINT:
            end_at_once(number, ended, 0 if progress.unstoppable() else PATIENCE)

    def _keep(self, number, frame) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

    def __exit__(self, *exc) -> None:
        self._listening.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


def answer_in_training(number: int) -> None:
    """Tell the user how training reacts to a signal; a ``reply`` of ``StopSignals``."""
    name, stage = signal.Signals(number).name, progress.unstoppable()
    if stage:
        progress.say(f'{name}: stopping after {stage}, which cannot be interrupted (Ctrl-C once more ends at once)')
    else:
        progress.say(f'{name}: stopping after this step, saving ... (Ctrl-C once more ends without saving)')


class Agreement:
    """An agreement of all processes of a run on the signal that any of them received.

    It is known one call later, so that no process waits for another.
    """

    def __init__(self, mesh: Mesh):
        self._sharding = batch_sharding(mesh)
        self._largest = jax.jit(jnp.max, out_shardings=replicated(mesh))
        self._pending: Array | None = None

    def __call__(self, received: int | None) -> int | None:
        """Return the signal that all processes agree on; it is the same in all of them at their n-th call.

        Args:
          received: the signal that this process received, if any.
        """
        if jax.process_count() == 1:
            return received
        own = np.full(jax.local_device_count(), received or 0, np.int32)
        previous = self._pending
        self._pending = self._largest(jax.make_array_from_process_local_data(self._sharding, own))
        return None if previous is None else int(previous) or None
