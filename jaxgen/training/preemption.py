"""One trainer a workdir, and signals that end it between two steps."""

from __future__ import annotations

import contextlib
import fcntl
import signal
from collections.abc import Iterator

from etils import epath

from jaxgen.errors import UserError


@contextlib.contextmanager
def exclusive(workdir: epath.Path) -> Iterator[None]:
    """Holds ``workdir/.lock`` while the block runs; the system frees it when the process dies, however it dies.

    Raises:
      UserError: if another process holds it.
    """
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
