"""Find the channels that tell classes apart, and test whether they do so by chance.

The selectivity index of Morcos et al. 2018 (On the importance of single directions for generalization) is

    (mu_max - mu_rest) / (mu_max + mu_rest)

for activations that are not negative, where mu_max is the largest mean over the images of a class and mu_rest the mean over all
other images. The blocks here have signed outputs, and the layers that read them subtract means and divide by deviations. So the
activations a of a channel are first shifted to begin at 0, as a - min a. A channel may also mark a class by being low, so the
index of max a - a is computed too, and the larger of the two counts. It does not change if a is scaled or shifted. It is 0 if all
classes have the same mean, and 1 if all images except those of one class are at the extreme of the channel.

The mutual information is that of the label and the quantile of the activation, which monotone functions do not change.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgen.apps.interpret.activations import Atlas
from jaxgen.apps.interpret.options import InterpretOptions
from jaxgen.types import Array

AT_ONCE = 32  # permutations to compute at once
ROUNDING = 1e-6  # statistics that differ by less count as equal

Members = Float[Array, 'n k']  # 1 where an image has a class
ByBlock = Mapping[str, np.ndarray]


def scaled_to_unit(activations: Float[Array, 'n m']) -> Float[Array, 'n m']:
    """Shift and scale each column to the range from 0 to 1; a constant column becomes 0."""
    low = jnp.min(activations, 0)
    width = jnp.max(activations, 0) - low
    return (activations - low) / jnp.where(width > 0, width, 1)


def class_indices(members: Members, scaled: Float[Array, 'n m']) -> tuple[Array, Array]:
    """Compute the index of Morcos et al. for each class, with its mean in the place of mu_max.

    Args:
      members: 1 where an image has a class, ``[N, K]``.
      scaled: the activations that ``scaled_to_unit`` returned.

    Returns:
      The index for the class being high and the index for the class being low, each ``[K, M]`` between -1 and 1; 0 for a constant
      column or an empty class.
    """
    sums = jnp.einsum('nk,nm->km', members, scaled, precision='highest')
    counts = jnp.sum(members, 0)[:, None]
    others = len(scaled) - counts
    mean = sums / jnp.maximum(counts, 1)
    rest = (jnp.sum(scaled, 0) - sums) / jnp.maximum(others, 1)
    known = (counts > 0) & (others > 0) & (jnp.max(scaled, 0) > 0)

    def ratio(above: Array, below: Array) -> Array:
        total = above + below
        return jnp.where(known & (total > 0), (above - below) / jnp.where(total > 0, total, 1), 0)

    return ratio(mean, rest), ratio(1 - mean, 1 - rest)


def quantile_bins(activations: np.ndarray, bins: int) -> np.ndarray:
    """Return the bin of each activation, int32 ``[N, M]`` below ``bins``; the bins have equal sizes as far as ties allow."""
    edges = np.quantile(activations, np.arange(1, bins) / bins, axis=0, method='inverted_cdf')
    return np.asarray(np.sum(activations[None] > edges[:, None], axis=0, dtype=np.int32))


def information(members: Members, binned: Float[Array, 'n b m']) -> Float[Array, ' m']:
    """Estimate the mutual information of label and bin in bits; few images bias the estimate upwards.

    Args:
      members: 1 where an image has a class, ``[N, K]``.
      binned: 1 where an image lies in a bin.
    """

    def entropy(counts: Array, axes: tuple[int, ...]) -> Array:
        p = counts / len(members)
        return -jnp.sum(jnp.where(p > 0, p * jnp.log2(jnp.where(p > 0, p, 1)), 0), axes)

    joint = jnp.einsum('nk,nbm->kbm', members, binned, precision='highest')
    return entropy(jnp.sum(members, 0), (0,)) + entropy(jnp.sum(binned, 0), (0,)) - entropy(joint, (0, 1))


class _Statistics(NamedTuple):
    """The statistics of all channels of a block.

    Attributes:
      high, low: the index for each class being high and being low, ``[K, M]``.
      permuted: index and information, ``[2, 2 + P, M]``, for the true labels, for shuffled labels, and for P further
        permutations.
    """

    high: Array
    low: Array
    permuted: Array


@functools.partial(jax.jit, static_argnames='permutations')
def _statistics(
    key: Array, members: Members, activations: Float[Array, 'n m'], binned: Float[Array, 'n b m'], permutations: int
) -> _Statistics:
    scaled = scaled_to_unit(activations)

    def both(members: Array) -> Array:
        return jnp.stack([jnp.max(jnp.stack(class_indices(members, scaled)), (0, 1)), information(members, binned)])

    def both_permuted(i: Array) -> Array:
        return both(jax.random.permutation(jax.random.fold_in(key, i), members))

    null = jax.lax.map(both_permuted, jnp.arange(permutations + 1), batch_size=AT_ONCE)
    high, low = class_indices(members, scaled)
    return _Statistics(high, low, jnp.concatenate([both(members)[None], null]).swapaxes(0, 1))


@dataclasses.dataclass(frozen=True)
class Test:
    """A statistic of every channel at every noise level, compared with its values under permuted labels: ``[L, C]`` by block.

    Attributes:
      value: the statistic.
      excess: its excess over its mean under permutations, which is its bias.
      p: the share of permutations, including the observed labels, with a value at least as large.
      q: ``p`` adjusted over all blocks, levels and channels of the network (Benjamini & Hochberg 1995).
      strict: the probability under permutations that any channel of the network is as many deviations above its mean (the
        maximum statistic of Westfall & Young 1993).
      shuffled: number of channels and levels whose q would be below the accepted rate with shuffled labels.
    """

    value: ByBlock
    excess: ByBlock
    p: ByBlock
    q: ByBlock
    strict: ByBlock
    shuffled: int


@dataclasses.dataclass(frozen=True)
class Selectivity:
    """The selectivity of the channels of a network for classes.

    Attributes:
      index: the test of the index of Morcos et al.
      information: the test of mutual information.
      by_class: the larger index of each class, ``[L, K, C]`` by block.
      low: whether ``by_class`` is the index of the class being low, ``[L, K, C]`` by block.
      mean: the mean of the activations over images, ``[L, C]`` by block.
      deviation: the standard deviation of the activations, ``[L, C]`` by block.
    """

    index: Test
    information: Test
    by_class: ByBlock
    low: ByBlock
    mean: ByBlock
    deviation: ByBlock


def measure_selectivity(
    atlas: Atlas,
    num_classes: int,
    options: InterpretOptions,
    key: Array,
    progress: Callable[[int], None] = lambda count: None,
) -> Selectivity:
    """Test all channels on the kept activations of an atlas, under the same permutations of the labels.

    Args:
      atlas: the activations and their labels.
      num_classes: number of classes.
      options: ``permutations``, ``bins`` and ``false_discoveries`` of the tests.
      key: random key of the permutations.
      progress: called with the number of blocks done.
    """
    members = jax.nn.one_hot(atlas.labels, num_classes)
    by_class, low, mean, deviation, permuted = {}, {}, {}, {}, {}
    for done, (block, kept) in enumerate(atlas.kept.items(), 1):
        n, levels, channels = kept.shape
        flat = kept.reshape(n, -1)
        binned = quantile_bins(flat, options.bins)[:, None] == np.arange(options.bins)[:, None]
        found = _statistics(key, members, flat, jnp.asarray(binned, jnp.float32), options.permutations)
        if_high, if_low = (
            np.asarray(index).reshape(num_classes, levels, channels).swapaxes(0, 1) for index in (found.high, found.low)
        )
        by_class[block], low[block] = np.maximum(if_high, if_low), if_low > if_high
        mean[block], deviation[block] = kept.mean(0), kept.std(0)
        permuted[block] = np.asarray(found.permuted).reshape(2, -1, levels, channels)
        progress(done)
    index, shared = (
        _test({block: statistics[i] for block, statistics in permuted.items()}, options.false_discoveries)
        for i in (0, 1)
    )
    return Selectivity(index, shared, by_class, low, mean, deviation)


def _test(statistics: ByBlock, rate: float) -> Test:
    """Test a statistic, ``[2 + P, L, C]`` by block for true labels, shuffled labels and P permutations."""
    nulls = {block: x[2:].astype(np.float64) for block, x in statistics.items()}
    centre = {block: null.mean(0) for block, null in nulls.items()}
    spread = {block: null.std(0) for block, null in nulls.items()}

    def deviations(x: np.ndarray, block: str) -> np.ndarray:
        return np.where(spread[block] > 0, (x - centre[block]) / np.where(spread[block] > 0, spread[block], 1), 0)

    largest = np.max([deviations(null, block).max((1, 2)) for block, null in nulls.items()], axis=0)

    def p_values(entry: int) -> dict[str, np.ndarray]:
        return {
            block: (1 + np.sum(null >= statistics[block][entry] - ROUNDING, 0)) / (len(null) + 1)
            for block, null in nulls.items()
        }

    def strict(block: str) -> np.ndarray:
        observed = deviations(statistics[block][0], block)
        return (1 + np.sum(largest >= observed[..., None], -1)) / (len(largest) + 1)

    p = p_values(0)
    return Test(
        value={block: x[0] for block, x in statistics.items()},
        excess={block: x[0] - centre[block] for block, x in statistics.items()},
        p=p,
        q=_adjusted(p),
        strict={block: strict(block) for block in statistics},
        shuffled=sum(int(np.sum(q <= rate)) for q in _adjusted(p_values(1)).values()),
    )


def _adjusted(p: ByBlock) -> dict[str, np.ndarray]:
    q = benjamini_hochberg(np.concatenate([x.ravel() for x in p.values()]))
    parts = np.split(q, np.cumsum([x.size for x in p.values()])[:-1])
    return {block: part.reshape(p[block].shape) for block, part in zip(p, parts, strict=True)}


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Return for each test the lowest false discovery rate at which it is a discovery (Benjamini & Hochberg 1995).

    Args:
      p: the p-values of M tests, ``[M]``.
    """
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty_like(p)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return q


@dataclasses.dataclass(frozen=True)
class Channel:
    """A channel of a block; its name is ``block:number``."""

    block: str
    number: int

    def __str__(self) -> str:
        return f'{self.block}:{self.number}'


def channels_of_class(found: Selectivity, label: int, blocks: Sequence[str], num: int) -> list[Channel]:
    """Return the channels of some blocks with the largest index of a class, averaged over levels, the largest first."""
    scored = []
    for block in blocks:
        scores = found.by_class[block][:, label].mean(0)
        scored += [(float(score), Channel(block, c)) for c, score in enumerate(scores)]
    return [channel for _, channel in sorted(scored, key=lambda pair: -pair[0])[:num]]
