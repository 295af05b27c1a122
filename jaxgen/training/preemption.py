"""One trainer a workdir, and signals that end it between two steps, the same two in all its processes."""

from __future__ import annotations

import contextlib
import fcntl
import signal
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh

from jaxgen.errors import UserError
from jaxgen.io.files import is_remote
from jaxgen.io.processes import is_first
from jaxgen.runtime.mesh import batch_sharding, replicated


@contextlib.contextmanager
def exclusive(workdir: epath.Path) -> Iterator[None]:
    """Holds ``workdir/.lock`` while the block runs; the system frees it when the process dies, however it dies.

    A bucket has no locks, and the processes of one run have the first of them hold it.

    Raises:
      UserError: if another run holds it.
    """
    if is_remote(workdir) or not is_first():
        yield
        return
    with open(workdir / '.lock', 'a') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise UserError(
                f'another run is training in {workdir}: wait for it, stop it, or take another --workdir'
            ) from e
        yield


class StopSignals:
    """While in the block, the first SIGTERM or SIGINT is kept in ``received``; a second SIGINT interrupts at once."""

    received: int | None = None

    def __enter__(self) -> StopSignals:
        self._before = {s: signal.signal(s, self._note) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def _note(self, number, frame) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

    def __exit__(self, *exc) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Agreement:
    """Tells all processes of a run what signal any of them received: one call late, so that none waits for another."""

    def __init__(self, mesh: Mesh):
        self._sharding = batch_sharding(mesh)
        self._largest = jax.jit(jnp.max, out_shardings=replicated(mesh))
        self._asked: jax.Array | None = None

    def __call__(self, received: int | None) -> int | None:
        """What is agreed on: the same in all processes at their n-th call."""
        if jax.process_count() == 1:
            return received
        mine = np.full(jax.local_device_count(), received or 0, np.int32)
        asked, self._asked = self._asked, self._largest(jax.make_array_from_process_local_data(self._sharding, mine))
        return None if asked is None else int(asked) or None
