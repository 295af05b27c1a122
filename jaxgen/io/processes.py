"""Which of several processes of one run writes its files."""

from __future__ import annotations

import jax


def is_first() -> bool:
    """Return whether this process writes the files and prints for all; the devices are not touched."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0
