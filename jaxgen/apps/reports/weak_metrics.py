"""Find metrics that come from too few images; pages show them in grey, with the reason."""

from __future__ import annotations

from collections.abc import Iterable

from jaxgen.metrics.evaluator import FEWEST
from jaxgen.types import Fields

# The smallest useful number of images, in the smaller set, for metrics other than FID; see docs/concepts/metrics.md
LEAST = {
    'kid': 1000,
    'kid_std': 1000,
    'precision': 1000,
    'recall': 1000,
    'density': 1000,
    'coverage': 1000,
    'inception_score': 5000,
}


def reasons(results: Iterable[Fields]) -> dict[str, str]:
    """Return the reasons why metrics of some results say little, by the path of the metric.

    Args:
      results: the results of the evaluator.
    """
    found: dict[str, str] = {}
    for result in results:
        protocol = result.get('protocol', {})
        counts = [protocol.get(of, {}).get('count') for of in ('generated', 'reference')]
        fewest = min((count for count in counts if count is not None), default=FEWEST)
        if fewest < FEWEST:
            found['fid'] = _too_few(fewest, FEWEST)
        found |= {path: _too_few(fewest, least) for path, least in LEAST.items() if fewest < least and path in result}
        by_class = result.get('fid_per_class')
        if by_class and fewest < FEWEST * len(by_class):
            found['fid_per_class'] = 'few images of each class: compare it only between classes and models'
        kid, deviation = result.get('kid'), result.get('kid_std')
        if kid is not None and deviation is not None and deviation > abs(kid):
            found['kid'] = found['kid_std'] = 'too few images: its deviation is larger than its value'
    return found


def _too_few(count: int, least: int) -> str:
    return f'too few images: {count:,} instead of {least:,} or more'
