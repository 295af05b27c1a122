"""List the files of a folder that a user names, and fill a new one."""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator

from jaxgen.errors import UserError


def files_below(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return the files of a folder in any depth, in the order of their paths.

    Hidden files and folders, whose names begin with a dot, are left out. Links to folders are followed. A folder that is
    reached in several ways is read once, without a link if possible, so that links may form loops.

    Args:
      folder: the folder.

    Raises:
      UserError: if a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise UserError(
            f'{error.filename} cannot be read ({error.strerror}): allow it, or remove the folder'
        ) from error

    found: list[pathlib.Path] = []
    seen: set[tuple[int, int]] = set()
    waiting = [folder]  # the folder itself, then the links to others
    while waiting:
        for name, folders, files in os.walk(waiting.pop(0), onerror=refuse):
            place = pathlib.Path(name)
            status = place.stat()
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(entry for entry in folders if not is_hidden(entry))
            waiting += [place / entry for entry in folders if (place / entry).is_symlink()]
            found += [place / entry for entry in files if not is_hidden(entry)]
    return sorted(found)


@contextlib.contextmanager
def filled(folder: pathlib.Path, replaces: bool = False) -> Iterator[pathlib.Path]:
    """Yield a folder to fill, which takes the place of ``folder`` at the end of the block; on an error nothing is left.

    Args:
      folder: a folder that does not exist or is empty.
      replaces: whether it may hold files, which are removed at the end of the block.

    Raises:
      UserError: if the folder holds files, or is a file.
    """
    is_free = not folder.exists() or (folder.is_dir() and (replaces or not any(folder.iterdir())))
    if not is_free:
        raise UserError(f'{folder} exists already, and is not an empty folder: name a new one')
    temporary = folder.parent / f'.{secrets.token_hex(8)}.{folder.name}'
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if replaces:
            shutil.rmtree(folder)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_hidden(name: str) -> bool:
    """Return whether a file or a folder of this name is hidden."""
    return name.startswith('.')


def unread(files: list[pathlib.Path], folder: pathlib.Path, read: str) -> tuple[str, ...]:
    """Return a sentence that counts files that are not read and names one of them, or nothing if there is none.

    Args:
      files: the files that are not read.
      folder: the folder that holds them.
      read: the files that are read, in words.
    """
    if not files:
        return ()
    number = '1 file' if len(files) == 1 else f'{len(files):,} files'
    verb = 'is' if len(files) == 1 else 'are'
    example = files[0].relative_to(folder)
    return (f'{number} of {folder} {verb} not read, such as {example}: only {read} are',)
