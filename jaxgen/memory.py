"""Memory that a process keeps between two runs of a compiled program on a CPU."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

# Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
NEVER, DEFAULT_MMAP_MAX = -1, 65536

_has_one_arena = False


def use_one_arena() -> None:
    """Let malloc have one arena, which :func:`compiling` needs; do nothing where there is no glibc.

    Call this at the start of a program, since glibc decides on its arenas when the second thread allocates memory. Only the
    first arena can hold blocks over 64 MB without mmap.
    """
    global _has_one_arena
    if platform.system() == 'Linux' and platform.libc_ver()[0] == 'glibc':
        _mallopt(M_ARENA_MAX, 1)
        _has_one_arena = True


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Compile, and perhaps run, a program in the block; from its end on malloc keeps what is freed.

    XLA allocates the temporary buffers of a program anew for each run. By default glibc takes blocks of that size from the
    kernel and gives them back, so that every step touches hundreds of megabytes of fresh pages for the first time. Within
    the block malloc is as it is by default: the compiler's memory would otherwise leave gaps in which buffers do not fit.
    Without :func:`use_one_arena` nothing changes.
    """
    _set(M_MMAP_MAX, DEFAULT_MMAP_MAX)
    try:
        yield
    finally:
        _set(M_MMAP_MAX, 0)
        _set(M_TRIM_THRESHOLD, NEVER)


def _set(parameter: int, value: int) -> None:
    if _has_one_arena:
        _mallopt(parameter, value)


def _mallopt(parameter: int, value: int) -> None:
    ctypes.CDLL(None).mallopt(parameter, value)
