"""The options of a bound on the likelihood: the section ``likelihood``."""

from __future__ import annotations

import dataclasses

from jaxgen.schema import Options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class LikelihoodOptions(Options):
    """The images and the number of noise levels of which the bound is computed."""

    split: str = option('test', 'split of data.name whose images are evaluated')
    num: int | None = option(1000, 'number of images; all of them if not set', at_least=2, at_most=100_000_000)
    terms: int | None = option(
        None,
        'largest number of terms of the bound to compute; with fewer than all, the result is an estimate; all timesteps, or 100 '
        'levels of a continuous schedule, if not set',
        at_least=2,
        at_most=1_000_000,
    )
