"""XLA flags that jaxgen sets before JAX starts: for speed on CPUs, for reproducible runs on GPUs."""

from __future__ import annotations

import importlib.metadata
import os
import re

from jaxgen.errors import check

# XLA:CPU uses YNNPACK for matrix products, reductions and convolutions. Its convolutions are slower than XLA's own, and the
# gradients of their kernels up to three times slower, so this flag leaves them out. See docs/results/speed_on_cpus.md.
FUSION_TYPE = '--xla_cpu_experimental_ynn_fusion_type=-individual_convolution'
DEFAULT_FUSION_TYPE = '--xla_cpu_experimental_ynn_fusion_type=individual_dot,individual_convolution,reduce'

# ``DEFAULT_FUSION_TYPE`` as an option of a single program
DEFAULT_FUSION_OPTION = {
    'xla_cpu_experimental_ynn_fusion_type': ','.join(
        f'LIBRARY_FUSION_TYPE_{name.upper()}' for name in DEFAULT_FUSION_TYPE.partition('=')[2].split(',')
    )
}

# These exclude operations that sum in any order, and the choice of kernels by timing, whose outcome varies.
DETERMINISTIC = ('--xla_gpu_exclude_nondeterministic_ops=true', '--xla_gpu_autotune_level=0')

# XLA ends the process on an unknown flag, so flags are set only for releases of jaxlib with which they were tried.
FIRST_VERSION, LAST_VERSION = (0, 10, 2), (0, 12)


def set_defaults() -> None:
    """Add ``FUSION_TYPE`` to ``XLA_FLAGS``, unless the user has set that flag or jaxlib may not know it.

    XLA reads the variable when it compiles its first program, and processes started from here inherit it.
    """
    _add(FUSION_TYPE)


def options_of_samplers() -> dict[str, str] | None:
    """Return the compiler options of programs that sample: the default fusion types, if ``FUSION_TYPE`` is set.

    XLA's own convolutions give wrong numbers in the loops of samplers on several virtual CPU devices: with ``FUSION_TYPE``, some
    images of a guided batch of 64 on two devices are noise.
    """
    return DEFAULT_FUSION_OPTION if FUSION_TYPE in os.environ.get('XLA_FLAGS', '').split() else None


def make_gpus_deterministic() -> None:
    """Add ``DETERMINISTIC`` to ``XLA_FLAGS``, which affects GPUs only.

    Raises:
      UserError: if this release of jaxlib was not tried with the flags.
    """
    check(
        is_known(_jaxlib_version()),
        f'reproducible runs need flags of XLA that were not tried with jaxlib {_jaxlib_version()}: install the versions of '
        f'requirements.lock, or leave it out and set {" ".join(DETERMINISTIC)} in XLA_FLAGS',
    )
    for flag in DETERMINISTIC:
        _add(flag)


def _add(flag: str) -> None:
    flags = os.environ.get('XLA_FLAGS', '')
    if flag.partition('=')[0] not in flags and is_known(_jaxlib_version()):
        os.environ['XLA_FLAGS'] = f'{flags} {flag}'.strip()


def is_known(jaxlib_version: str) -> bool:
    """Return whether the flags were tried with this release of jaxlib; ``''`` stands for no jaxlib."""
    version = tuple(int(number) for number in re.findall(r'\d+', jaxlib_version)[:3])
    return version >= FIRST_VERSION and version[:2] <= LAST_VERSION


def _jaxlib_version() -> str:
    try:
        return importlib.metadata.version('jaxlib')
    except importlib.metadata.PackageNotFoundError:
        return ''
