"""Decide which process of a run writes its files."""

from __future__ import annotations

import jax


def is_first() -> bool:
    """Return whether this process writes files and prints for all processes of the run, without initialising a device."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0
