"""Write files so that no reader ever sees an incomplete one, and read JSON and ``.npz`` files safely."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import zipfile
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from etils import epath

from jaxgen.errors import UserError, check
from jaxgen.io.folders import is_hidden
from jaxgen.io.processes import is_first
from jaxgen.schema import expanded
from jaxgen.types import JsonObject

AnyPath = TypeVar('AnyPath', pathlib.Path, epath.Path)
MAX_JSON = 2**20  # size in bytes of the largest JSON file that is read


def is_remote(path: epath.PathLike) -> bool:
    """Return whether a path lies in a bucket (``gs://...``) and not on a disk."""
    return '://' in os.fspath(path)


def absolute(path: epath.PathLike) -> epath.Path:
    """Return the absolute path, with a leading ``~`` expanded; a path in a bucket is absolute already."""
    path = epath.Path(expanded(path))
    return path if is_remote(path) else path.absolute()


def temporary_name(path: epath.PathLike) -> epath.Path:
    """Return a random, hidden path in the folder of ``path``, with the same suffix."""
    path = epath.Path(path)
    return path.parent / f'.{secrets.token_hex(8)}.{path.name}'


def visible(folder: AnyPath, pattern: str) -> list[AnyPath]:
    """Return the files of a folder that match a pattern, sorted by name; none if there is no such folder.

    Hidden files are left out: a process that was killed leaves a hidden temporary file, which may be incomplete.
    """
    if not folder.exists():
        return []
    return sorted(path for path in folder.glob(pattern) if not is_hidden(path.name))


def make_folder(path: epath.PathLike) -> epath.Path:
    """Make a folder and its parents, and return it.

    Raises:
      UserError: if a file is in the way, or the folder cannot be made.
    """
    path = epath.Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f'{path} cannot be made ({e.strerror}): name another folder, or make it writable') from e
    return path


def require_writable(path: epath.PathLike, what: str) -> None:
    """Refuse a folder that cannot be written to or cannot be made, without making it.

    Args:
      path: the folder.
      what: name of the option or flag that sets the folder, for messages.

    Raises:
      UserError: if the folder is a file, one of its parents is a file, or it is in a place that is not writable.
    """
    if is_remote(path):
        return
    nearest = pathlib.Path(path).absolute()  # the path itself, or its nearest parent that exists
    try:
        while not nearest.exists():
            nearest = nearest.parent
    except OSError as e:
        raise UserError(f'{what}={path} cannot be used ({e.strerror}): name another folder') from e
    if not nearest.is_dir():
        raise UserError(f'{what}={path} cannot be made, because {nearest} is a file: name another folder')
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f'{what}={path} cannot be written to: name another folder, or make {nearest} writable')


@contextlib.contextmanager
def replacing(path: epath.PathLike) -> Iterator[epath.Path]:
    """Yield a temporary file to write, which replaces ``path`` at the end of the block.

    If the block fails or the process is killed, ``path`` stays as it was. Only a process that is killed leaves the temporary
    file behind, and readers skip it since it is hidden (see ``visible``). In a bucket the block writes to ``path`` itself: there
    an object appears only when it is complete, and moving an object would copy it.
    """
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_remote(path):
        yield path
        return
    temporary = temporary_name(path)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: epath.PathLike, data: bytes) -> None:
    """Write a complete file, or leave the old one as it was; if a run has several processes, only the first one writes."""
    if not is_first():
        return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: epath.PathLike, tree: object) -> None:
    """Write indented JSON with :func:`write_atomically`."""
    write_atomically(path, (json.dumps(tree, indent=2) + '\n').encode())


@contextlib.contextmanager
def filled(folder: pathlib.Path, replaces: bool = False) -> Iterator[pathlib.Path]:
    """Yield a temporary folder to fill, which becomes ``folder`` at the end of the block, or is removed if the block fails.

    Args:
      folder: a folder that does not exist or is empty.
      replaces: whether the folder may hold files; they are removed at the end of the block.

    Raises:
      UserError: if the folder holds files and ``replaces`` is False, or if it is a file.
    """
    is_free = not folder.exists() or (folder.is_dir() and (replaces or not any(folder.iterdir())))
    if not is_free:
        raise UserError(f'{folder} exists already, and is not an empty folder: name a new one')
    temporary = pathlib.Path(temporary_name(folder))
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if replaces:
            shutil.rmtree(folder)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def replacing_set(folder: epath.PathLike, names: str) -> Iterator[Callable[[str, bytes], None]]:
    """Yield a function ``(name, data)`` that writes a file; at the end of the block these files replace an earlier set.

    Files in the folder that match ``names`` but were not written in the block are removed; other files stay. If the block
    fails, the folder stays as it was. In a bucket each file is written immediately, as by ``replacing``.

    Args:
      folder: the folder of the set.
      names: regular expression that matches the names of all files of the set, and of no other files.
    """
    folder = epath.Path(folder)
    if not is_first():
        yield lambda name, data: None
        return
    temporary = folder if is_remote(folder) else temporary_name(folder)
    written = []

    def write(name: str, data: bytes) -> None:
        (make_folder(temporary) / name).write_bytes(data)
        written.append(name)

    try:
        yield write
        make_folder(folder)
        if not is_remote(folder):
            for name in written:
                (temporary / name).replace(folder / name)
        for old in folder.iterdir():
            if re.fullmatch(names, old.name) and old.name not in written:
                old.unlink()
    finally:
        if not is_remote(folder):
            shutil.rmtree(temporary, ignore_errors=True)


def parse_object(data: bytes | str, *, is_finite: bool = False) -> JsonObject:
    """Return the JSON object in a text.

    Args:
      data: the text, as a string or as UTF-8 bytes.
      is_finite: whether to refuse NaN and infinity, which Python writes although they are not valid JSON.

    Raises:
      ValueError: if the text is not UTF-8, not JSON, or not an object; its message gives the reason.
    """
    try:
        tree = json.loads(
            data if isinstance(data, str) else data.decode(), parse_constant=_no_number if is_finite else float
        )
        json.dumps(tree, ensure_ascii=False).encode()  # a lone surrogate could never be printed
    except RecursionError as e:
        raise ValueError('it is nested too deeply') from e
    if not isinstance(tree, dict):
        raise ValueError('it is not a JSON object')
    return tree


def _no_number(name: str) -> None:
    raise ValueError(f'{name} is not valid JSON')


def read_object(
    path: epath.PathLike, what: str, remedy: str, name: str | None = None, *, is_finite: bool = False
) -> JsonObject:
    """Return the JSON object in a file.

    Args:
      path: the file.
      what: description of the expected file, for messages.
      remedy: advice to the user if the file is something else, for messages.
      name: name of the file in messages; its path if not set.
      is_finite: whether to refuse NaN and infinity.

    Raises:
      UserError: if the file cannot be read, is larger than ``MAX_JSON``, or is not such an object.
    """
    try:
        with epath.Path(path).open('rb') as file:
            data = file.read(MAX_JSON + 1)
        check(len(data) <= MAX_JSON, f'{name or path} is not {what} (it has more than {MAX_JSON} bytes): {remedy}')
        return parse_object(data, is_finite=is_finite)
    except UserError:
        raise
    except OSError as e:
        raise UserError(f'{name or path} cannot be read ({e.strerror}): {remedy}') from e
    except ValueError as e:
        raise UserError(f'{name or path} is not {what} ({e}): {remedy}') from e


def cache_dir() -> pathlib.Path:
    """Return the folder of the cache: ``JAXGEN_CACHE_DIR``, or ``~/.cache/jaxgen``."""
    return pathlib.Path(expanded(os.environ.get('JAXGEN_CACHE_DIR') or '~/.cache/jaxgen'))


def load_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Load the arrays of an ``.npz`` file without unpickling anything.

    The checksum of each member is compared first. NumPy would miss damage in the header of an array, since the checksum is
    compared only after the last byte of a member was read.

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
