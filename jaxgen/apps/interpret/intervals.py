"""Confidence intervals of proportions and of paired differences, and a permutation test of one choice among others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Z = 1.959963984540054  # of a two-sided interval of 95%
MAX_EXACT = 100_000  # largest number of permutations that are all computed
RANDOM_PERMUTATIONS = 10_000  # number of random permutations if there are more
ROUNDING = 1e-9  # sums that differ by less count as equal


class Interval(NamedTuple):
    """An estimate with the ends of its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f'{self.value:.0%} ({self.low:.0%} to {self.high:.0%})'


def proportion(hits: np.ndarray) -> Interval:
    """Return the share of hits, with the interval of Wilson 1927.

    Args:
      hits: bool ``[N]``.
    """
    n, p = len(hits), float(np.mean(hits))
    centre, half = p + Z**2 / (2 * n), Z * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    low, high = (float((centre + sign * half) / (1 + Z**2 / n)) for sign in (-1, 1))
    return Interval(p, low, high)


def difference(after: np.ndarray, before: np.ndarray) -> Interval:
    """Return the share of hits after minus the share before, with the interval of Bonett & Price 2012 for paired proportions.

    Only images that changed count. Two images that changed, one each way, are added, so that the interval has a width even if
    no image changed; the estimate itself is without them.

    Args:
      after: bool ``[N]``.
      before: bool ``[N]``, of the same images.
    """
    n = len(after)
    won, lost = (float(np.sum(x) + 1) / (n + 2) for x in (after & ~before, before & ~after))
    half = Z * np.sqrt((won + lost - (won - lost) ** 2) / (n + 2))
    value = float(np.mean(after)) - float(np.mean(before))
    return Interval(value, max(won - lost - half, -1.0), min(won - lost + half, 1.0))


class PermutationTest(NamedTuple):
    """A mean difference with its two-sided p-value."""

    value: float
    p: float


def permutation_test(values: np.ndarray, seed: int) -> PermutationTest:
    """Test whether the first of N + 1 values differs from the mean of the others, in the mean over K classes.

    The null distribution has each of the values of a class in the place of the first: all ``(N + 1)**K`` ways, or
    ``RANDOM_PERMUTATIONS`` random ones next to the observed one if there are more than ``MAX_EXACT``. If the values of every
    class are exchangeable, p is at most x with a probability of at most x.

    Args:
      values: ``[K, N + 1]``.
      seed: seed of random permutations.
    """
    num_classes, n = values.shape
    gaps = (values - values.mean(1, keepdims=True)) * n / (n - 1)
    if n**num_classes <= MAX_EXACT:
        sums = np.zeros(1)
        for class_gaps in gaps:
            sums = np.add.outer(sums, class_gaps).ravel()
    else:
        first = np.random.default_rng(seed).integers(n, size=(RANDOM_PERMUTATIONS + 1, num_classes))
        first[0] = 0  # the observed one
        sums = gaps[np.arange(num_classes), first].sum(1)
    observed = gaps[:, 0].sum()
    p = float(np.mean(np.abs(sums) >= abs(observed) - ROUNDING))
    return PermutationTest(float(observed) / num_classes, p)
