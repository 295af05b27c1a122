"""Confidence intervals of proportions and of paired differences, and a permutation test of one choice against others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Z = 1.959963984540054  # quantile of the normal distribution for a two-sided interval of 95%
MAX_EXACT = 100_000  # all permutations are computed up to this number
RANDOM_PERMUTATIONS = 10_000  # number of random permutations beyond it
ROUNDING = 1e-9  # sums that differ by less count as equal


class Interval(NamedTuple):
    """An estimate with the ends of its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f'{self.value:.0%} ({self.low:.0%} to {self.high:.0%})'


def proportion(hits: np.ndarray) -> Interval:
    """Return the share of hits with the interval of Wilson (1927).

    Args:
      hits: bool ``[N]``.
    """
    n, p = len(hits), float(np.mean(hits))
    centre, half = p + Z**2 / (2 * n), Z * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    low, high = (float((centre + sign * half) / (1 + Z**2 / n)) for sign in (-1, 1))
    return Interval(p, low, high)


def difference(after: np.ndarray, before: np.ndarray) -> Interval:
    """Return the share of hits after minus the share before, with the interval of Bonett & Price (2012) for paired proportions.

    Only images that changed count. The interval adds two images that changed, one each way, so that it has a width even if no
    image changed; the estimate does not include them.

    Args:
      after: hits after the change, bool ``[N]``.
      before: hits before the change for the same images, bool ``[N]``.
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

    The null distribution puts each value of a class in the first place: in all ``(N + 1)**K`` ways, or, if these are more than
    ``MAX_EXACT``, in the observed one and ``RANDOM_PERMUTATIONS`` random ones. If the values of every class are exchangeable, p
    is at most x with a probability of at most x.

    Args:
      values: the values by class, ``[K, N + 1]``.
      seed: seed of the random permutations.
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
