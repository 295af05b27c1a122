"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

from etils import epath


@contextlib.contextmanager
def replacing(path: epath.PathLike) -> Iterator[epath.Path]:
    """A temporary file to write, which becomes ``path`` at the end of the block; killed or failed, all is as before.

    Its name ends as that of ``path``.
    """
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f'.{os.getpid()}.{path.name}'
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: epath.PathLike, data: bytes) -> None:
    """Writes the whole file, or, if killed, leaves what was there before."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def cache_dir() -> pathlib.Path:
    """What can be made again at the price of some time: ``JAXGEN_CACHE_DIR``, or ``~/.cache/jaxgen``."""
    return pathlib.Path(os.environ.get('JAXGEN_CACHE_DIR') or '~/.cache/jaxgen').expanduser()
