"""List the files of a folder that the user has named."""

from __future__ import annotations

import os
import pathlib

from jaxgen.errors import UserError


def files_below(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return the files of a folder and of all its subfolders, sorted by path.

    Hidden files and folders, whose names begin with a dot, are left out. Links to folders are followed. A folder that can be
    reached in several ways is listed once, by its own path rather than by a link, so links may form loops.

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
    waiting = [folder]  # the folder itself, then the linked folders
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


def is_hidden(name: str) -> bool:
    """Return whether a file or a folder with this name is hidden."""
    return name.startswith('.')


def unread(files: list[pathlib.Path], folder: pathlib.Path, read: str) -> tuple[str, ...]:
    """Return a note that counts the files that are not read and names one of them; no note if there are none.

    Args:
      files: the files that are not read.
      folder: the folder that holds them.
      read: description of the files that are read.
    """
    if not files:
        return ()
    number = '1 file' if len(files) == 1 else f'{len(files):,} files'
    verb = 'is' if len(files) == 1 else 'are'
    example = files[0].relative_to(folder)
    return (f'{number} of {folder} {verb} not read, such as {example}: only {read} are',)
