"""Memory that a process keeps between two steps on a CPU, set up before JAX starts."""

from __future__ import annotations

import ctypes
import platform

# Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
NEVER = -1


def keep_freed_memory() -> None:
    """Let malloc keep what is freed; do nothing where there is no glibc.

    XLA allocates the temporary buffers of a program anew for each run. By default glibc takes blocks of that size from the
    kernel and gives them back, so that every step touches hundreds of megabytes of fresh pages for the first time.
    Call this before the first thread starts: glibc decides then how many arenas there are, and only the first arena can
    hold large blocks.
    """
    if platform.system() != 'Linux' or platform.libc_ver()[0] != 'glibc':
        return
    libc = ctypes.CDLL(None)
    for parameter, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER)):
        libc.mallopt(parameter, value)
