"""The options of a sweep over settings: the section ``sweep``."""

from __future__ import annotations

import dataclasses

from jaxgen.schema import Options, option

# The metrics that can decide which setting is best, each with the entry of evaluation.metrics that computes it; those of
# the classifier are always computed.
METRICS = {
    'fid': 'fid',
    'kid': 'kid',
    'inception_score': 'inception_score',
    'precision': 'precision_recall',
    'recall': 'precision_recall',
    'judge.accuracy': None,
    'judge.mean_confidence': None,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepOptions(Options):
    """Which settings are tried, and how they are compared."""

    settings: str | None = option(
        None, 'fields and the values to try, as in timesteps:100,1000;width:32,64; needed by --mode=sweep'
    )
    images: int | None = option(
        None,
        'number of images on which each model is trained, for any batch size; train.steps decides if not set',
        at_least=1,
    )
    seeds: int = option(1, 'number of seeds with which each setting is trained, from seed on', at_least=1)
    metric: str = option('kid', 'metric that decides which setting is best', choices=lambda: METRICS)
