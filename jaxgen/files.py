"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import os
import pathlib
import zipfile
from collections.abc import Iterator

import numpy as np
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


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """The arrays of a cached file; None if it is not there or, then removed, was damaged.

    A zip file has a checksum of each member, which is compared when the last byte is read: numpy may not come to it
    where the damage is in a header.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is None:
                with np.load(path) as arrays:
                    return dict(arrays)
    except FileNotFoundError:
        return None
    except Exception:  # zipfile and numpy have an error of their own for each thing that a damaged byte can mean
        pass
    path.unlink(missing_ok=True)
    return None
