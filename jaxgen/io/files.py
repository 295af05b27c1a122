"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from jaxgen.io.processes import is_first


def is_remote(path: epath.PathLike) -> bool:
    """Whether it lies in a bucket, ``gs://...``, and not on a disk."""
    return '://' in os.fspath(path)


def absolute(path: epath.PathLike) -> epath.Path:
    """The same from the root of the disk, or of the bucket."""
    path = epath.Path(path)
    return path if is_remote(path) else path.absolute()


@contextlib.contextmanager
def replacing(path: epath.PathLike) -> Iterator[epath.Path]:
    """A temporary file to write, which becomes ``path`` at the end of the block; killed or failed, all is as before.

    Its name ends as that of ``path``. In a bucket, where an object appears when all of it is there and moving one is
    copying it, it is ``path`` itself.
    """
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_remote(path):
        yield path
        return
    temporary = path.parent / f'.{os.getpid()}.{path.name}'
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: epath.PathLike, data: bytes) -> None:
    """Writes the whole file, or, if killed, leaves what was there before; of the processes of one run the first does it."""
    if not is_first():
        return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: epath.PathLike, tree: Any) -> None:
    """The same of an indented JSON file."""
    write_atomically(path, (json.dumps(tree, indent=2) + '\n').encode())


def cache_dir() -> pathlib.Path:
    """What can be made again at the price of some time: ``JAXGEN_CACHE_DIR``, or ``~/.cache/jaxgen``."""
    return pathlib.Path(os.environ.get('JAXGEN_CACHE_DIR') or '~/.cache/jaxgen').expanduser()


def load_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a file, none of them pickled.

    A zip file has a checksum of each member, which is compared when the last byte is read: numpy may not come to it
    where the damage is in a header.

    Raises:
      FileNotFoundError: if it is not there.
      ValueError: if it was damaged, or is something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            with np.load(path) as arrays:
                return dict(arrays)
    except FileNotFoundError:
        raise
    except Exception as e:  # zipfile and numpy have an error of their own for each thing that a damaged byte can mean
        raise ValueError(str(e)) from e
    raise ValueError(f'{damaged} is damaged')


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """The arrays of a cached file; None if it is not there or, then removed, was damaged."""
    try:
        return load_npz(path)
    except FileNotFoundError:
        return None
    except ValueError:
        path.unlink(missing_ok=True)
        return None
