"""XLA flags that make JAX faster on CPUs, set before JAX starts."""

from __future__ import annotations

import importlib.metadata
import os
import re

# Which operations XLA:CPU hands to YNNPACK. The default includes convolutions, whose kernel gradients YNNPACK computes at a
# third of the rate of XLA's own; matrix products and reductions are faster in YNNPACK. docs/results/benchmark.md measures it.
FUSION_TYPE = '--xla_cpu_experimental_ynn_fusion_type=individual_dot,reduce'

# XLA ends the process on a flag that it does not know, so the flag is set for the jaxlib releases that were tried alone.
FIRST_VERSION, LAST_VERSION = (0, 10, 2), (0, 12)


def set_defaults() -> None:
    """Add ``FUSION_TYPE`` to ``XLA_FLAGS``, unless the user has set that flag or jaxlib may not know it.

    XLA reads the variable when it compiles its first program, and processes started from here inherit it.
    """
    flags = os.environ.get('XLA_FLAGS', '')
    name = FUSION_TYPE.partition('=')[0]
    if name not in flags and knows_fusion_type(_jaxlib_version()):
        os.environ['XLA_FLAGS'] = f'{flags} {FUSION_TYPE}'.strip()


def knows_fusion_type(jaxlib_version: str) -> bool:
    """Return whether this release of jaxlib was tried with the flag; ``''`` stands for no jaxlib."""
    version = tuple(int(number) for number in re.findall(r'\d+', jaxlib_version)[:3])
    return version >= FIRST_VERSION and version[:2] <= LAST_VERSION


def _jaxlib_version() -> str:
    try:
        return importlib.metadata.version('jaxlib')
    except importlib.metadata.PackageNotFoundError:
        return ''
