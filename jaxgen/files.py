"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os

from etils import epath


def write_atomically(path: epath.Path, data: bytes) -> None:
    """Writes the whole file, or, if killed, leaves what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f'.{path.name}.{os.getpid()}'
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
