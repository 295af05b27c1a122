"""Write files so that no reader ever sees half of one, and read ``.npz`` files safely."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import zipfile
from collections.abc import Iterator

import numpy as np
from etils import epath

from jaxgen.io.processes import is_first
from jaxgen.schema import expanded


def is_remote(path: epath.PathLike) -> bool:
    """Return whether a path lies in a bucket (``gs://...``) and not on a disk."""
    return '://' in os.fspath(path)


def absolute(path: epath.PathLike) -> epath.Path:
    """Return the absolute path, also of one that begins with ``~``; a path in a bucket is absolute already."""
    path = epath.Path(expanded(path))
    return path if is_remote(path) else path.absolute()


@contextlib.contextmanager
def replacing(path: epath.PathLike) -> Iterator[epath.Path]:
    """Yield a temporary file to write, which replaces ``path`` at the end of the block.

    If the block fails or the process is killed, ``path`` stays as it was. The temporary file has the same suffix as
    ``path``. In a bucket the block writes to ``path`` itself: there an object appears only when it is complete, and moving
    an object would copy it.
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
    """Write a whole file or leave the old one; of several processes of a run only the first one writes."""
    if not is_first():
        return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: epath.PathLike, tree: object) -> None:
    """Write indented JSON as :func:`write_atomically` writes bytes."""
    write_atomically(path, (json.dumps(tree, indent=2) + '\n').encode())


def cache_dir() -> pathlib.Path:
    """Return the folder for files that can be made again: ``JAXGEN_CACHE_DIR``, or ``~/.cache/jaxgen``."""
    return pathlib.Path(expanded(os.environ.get('JAXGEN_CACHE_DIR') or '~/.cache/jaxgen'))


def load_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Load the arrays of an ``.npz`` file, without unpickling anything.

    The checksum of each member is compared first. NumPy alone would miss damage in a header, since the zip format only
    compares the checksum once the last byte was read.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: if the file is damaged or is not an ``.npz`` file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            with np.load(path) as arrays:
                return dict(arrays)
    except FileNotFoundError:
        raise
    except Exception as e:  # zipfile and NumPy raise errors of many types, depending on which byte is damaged
        raise ValueError(str(e)) from e
    raise ValueError(f'{damaged} is damaged')


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of a cached file, or None if it does not exist or is damaged; a damaged file is removed."""
    try:
        return load_npz(path)
    except FileNotFoundError:
        return None
    except ValueError:
        path.unlink(missing_ok=True)
        return None
