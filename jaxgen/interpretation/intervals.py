"""Intervals of proportions, and of the difference of two that were counted on the same images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Z = 1.959963984540054  # of 95% on both sides


class Interval(NamedTuple):
    """An estimate and the ends of its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f'{self.value:.0%} ({self.low:.0%} to {self.high:.0%})'


def proportion(hits: np.ndarray) -> Interval:
    """The share of hits bool ``[N]``, by Wilson 1927."""
    n, p = len(hits), float(np.mean(hits))
    centre, half = p + Z**2 / (2 * n), Z * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return Interval(p, *(float((centre + side * half) / (1 + Z**2 / n)) for side in (-1, 1)))


def difference(after: np.ndarray, before: np.ndarray) -> Interval:
    """Of the shares of hits bool ``[N]`` among the same images, ``after`` minus ``before``, by Bonett & Price 2012.

    Only images that changed count; two that did, one each way, are added, so that the interval has a width where none
    changed. The estimate itself is without them.
    """
    n = len(after)
    won, lost = (float(np.sum(x) + 1) / (n + 2) for x in (after & ~before, before & ~after))
    half = Z * np.sqrt((won + lost - (won - lost) ** 2) / (n + 2))
    value = float(np.mean(after)) - float(np.mean(before))
    return Interval(value, max(won - lost - half, -1.0), min(won - lost + half, 1.0))
