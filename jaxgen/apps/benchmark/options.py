"""The options of a benchmark: the section ``benchmark``."""

from __future__ import annotations

import dataclasses

from jaxgen.apps.benchmark.variants import CASES
from jaxgen.schema import Options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(Options):
    """The measurements of a benchmark, their duration, and the PyTorch to compare with."""

    cases: tuple[str, ...] = option(('train', 'sample', 'features', 'data'), 'what to measure', choices=lambda: CASES)
    variants: tuple[str, ...] | None = option(
        None, 'names of the variants to run, in this order, as in float32,eager,channels-last; all of them if not set'
    )
    rounds: int = option(
        3, 'number of rounds, in each of which every variant runs in its own process', at_least=1, at_most=1000
    )
    seconds: int = option(10, 'minimum time to measure each variant, in seconds', at_least=0, at_most=86_400)
    minutes: float | None = option(
        None,
        'time after which no further variant is started, in minutes; no limit if not set',
        at_least=0,
        at_most=100_000,
    )
    steps_per_dispatch: int = option(
        8, 'steps in a dispatch of the variants that run several', at_least=1, at_most=1000
    )
    precision: str = option(
        'highest',
        'precision of float32 matrix products in jaxgen and PyTorch; tensorfloat32 is for GPUs',
        choices=('highest', 'tensorfloat32'),
    )
    python: str | None = option(
        None, 'Python interpreter of an environment with PyTorch; the one of this process if not set', path=True
    )
    baseline: str | None = option(
        None,
        'a benchmark.json of another machine to compare with, for a device that PyTorch does not support; none if not set',
        path=True,
    )
    trace: bool = option(False, "write profiles of jaxgen's variants to profile/")
