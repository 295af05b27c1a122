"""Intervals of proportions and of the difference of two counted on the same images; a test of one draw among others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Z = 1.959963984540054  # of 95% on both sides
EXACT = 100_000  # exchanges that are all looked at
EXCHANGES = 10_000  # drawn where there are more
ROUNDING = 1e-9  # of a sum: exchanges that differ by less say the same


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


class Exchange(NamedTuple):
    """A mean difference, and the two-sided probability of one as large under exchange."""

    value: float
    p: float


def exchange(draws: np.ndarray, seed: int) -> Exchange:
    """How far the first of N + 1 draws is from the mean of the others, in the mean over K classes; draws is ``[K, N + 1]``.

    Held against all ``(N + 1)**K`` ways to name in each class one of the draws the first or, where these are above
    ``EXACT``, against ``EXCHANGES`` of them at random beside the observed one. Where the draws of every class are
    exchangeable, p is at most x with a probability of at most x.
    """
    k, n = draws.shape
    gaps = (draws - draws.mean(1, keepdims=True)) * n / (n - 1)
    if n**k <= EXACT:
        sums = np.zeros(1)
        for of_class in gaps:
            sums = np.add.outer(sums, of_class).ravel()
    else:
        named = np.random.default_rng(seed).integers(n, size=(EXCHANGES + 1, k))
        named[0] = 0  # the observed one
        sums = gaps[np.arange(k), named].sum(1)
    observed = gaps[:, 0].sum()
    return Exchange(float(observed) / k, float(np.mean(np.abs(sums) >= abs(observed) - ROUNDING)))
