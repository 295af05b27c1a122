"""A lock that allows only one run to train in a run directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from typing import TextIO

from etils import epath

from jaxgen.errors import UserError, check
from jaxgen.io.files import is_remote, make_folder
from jaxgen.io.processes import is_first


class Lock:
    """A lock on the file ``workdir/.lock``; the operating system frees it when the process ends, even if it is killed.

    If a run has several processes, the first one holds the lock. There are no locks in a bucket.

    Raises:
      UserError: if another run holds it.
    """

    def __init__(self, workdir: epath.Path):
        self._workdir, self._file = workdir, None
        if is_first() and not is_remote(workdir):
            self._file = self._locked()

    def _locked(self) -> TextIO:
        file = open(make_folder(self._workdir) / '.lock', 'a')  # noqa: SIM115  closed by ``close``
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            file.close()
            raise UserError(
                f'another run is training in {self._workdir}: wait for it, stop it, or choose another run directory'
            ) from e
        return file

    def renew(self) -> bool:
        """Make the run directory and the lock again if they were removed, and return whether they were.

        Raises:
          UserError: if another run has begun in the run directory in the meantime.
        """
        if self._file is None:
            return False
        try:
            there = os.stat(self._workdir / '.lock')
        except OSError:
            self._file.close()
            self._file = self._locked()
            return True
        check(
            os.path.samestat(there, os.fstat(self._file.fileno())),
            f'{self._workdir} was removed, and another run has begun there: this run ends so that it does not disturb the other',
        )
        return False

    def close(self) -> None:
        """Free the lock."""
        if self._file is not None:
            self._file.close()


@contextlib.contextmanager
def exclusive(workdir: epath.Path) -> Iterator[Lock]:
    """Hold the lock of a run directory while the block runs; the directory is made if it does not exist.

    Raises:
      UserError: if another run holds it, or the folder cannot be made.
    """
    with contextlib.closing(Lock(workdir)) as lock:
        yield lock


def is_locked(workdir: epath.Path) -> bool:
    """Return whether a run holds the lock of a run directory; False in a bucket, where there are no locks."""
    try:
        with open(workdir / '.lock') as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
