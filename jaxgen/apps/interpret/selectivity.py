"""Which channels tell classes apart, and which of them do so by chance alone.

The index of Morcos et al. 2018 (On the importance of single directions for generalization) is
(mu_max - mu_rest) / (mu_max + mu_rest), mu_max being the largest mean over the images of a class and mu_rest the mean over
all other images, of activations that are not negative. The blocks here have signed outputs, and what reads them
subtracts means and divides by deviations. So a channel's activations a are first shifted to begin at 0, as a - min a and,
since a channel may as well say a class by being low, as max a - a; the larger of the two indices counts. It does not change
when a is scaled or shifted, is 0 where all classes have one mean, and 1 where all images but those of one class are
at the channel's extreme. Mutual information is of the label and the activation's quantiles, which any monotone
function of the activation leaves as they are.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxgen.apps.interpret.activations import Atlas

Array = jax.Array
AT_ONCE = 32  # permutations
ROUNDING = 1e-6  # of a statistic: permutations that differ by less say the same


def unit(activations: Array) -> Array:
    """``[N, M]``, each column shifted and scaled to reach from 0 to 1; 0 where nothing varies."""
    low = jnp.min(activations, 0)
    width = jnp.max(activations, 0) - low
    return (activations - low) / jnp.where(width > 0, width, 1)


def class_indices(members: Array, shifted: Array) -> tuple[Array, Array]:
    """The index of Morcos et al. with each class in the place of the one whose mean is largest.

    Args:
      members: ``[N, K]``, 1 where an image is of a class.
      shifted: ``[N, M]``, by ``unit``.

    Returns:
      ``[K, M]`` between -1 and 1 with the class high, and the same with it low; 0 where nothing varies or a class is empty.
    """
    sums = jnp.einsum('nk,nm->km', members, shifted, precision='highest')
    counts = jnp.sum(members, 0)[:, None]
    others = len(shifted) - counts
    mean = sums / jnp.maximum(counts, 1)
    rest = (jnp.sum(shifted, 0) - sums) / jnp.maximum(others, 1)
    known = (counts > 0) & (others > 0) & (jnp.max(shifted, 0) > 0)

    def ratio(above: Array, below: Array) -> Array:
        total = above + below
        return jnp.where(known & (total > 0), (above - below) / jnp.where(total > 0, total, 1), 0)

    return ratio(mean, rest), ratio(1 - mean, 1 - rest)


def quantile_bins(activations: np.ndarray, bins: int) -> np.ndarray:
    """int32 ``[N, M]`` below ``bins``, as many images in each as ties allow: equal activations share a bin."""
    edges = np.quantile(activations, np.arange(1, bins) / bins, axis=0, method='inverted_cdf')
    return np.sum(activations[None] > edges[:, None], axis=0, dtype=np.int32)


def information(members: Array, binned: Array) -> Array:
    """Mutual information of label and bin, in bits ``[M]``, biased upwards as estimates from few images are.

    Args:
      members: ``[N, K]``, as in ``class_indices``.
      binned: ``[N, B, M]``, 1 where an image lies in a bin.
    """

    def entropy(counts: Array, axes: tuple[int, ...]) -> Array:
        p = counts / len(members)
        return -jnp.sum(jnp.where(p > 0, p * jnp.log2(jnp.where(p > 0, p, 1)), 0), axes)

    joint = jnp.einsum('nk,nbm->kbm', members, binned, precision='highest')
    return entropy(jnp.sum(members, 0), (0,)) + entropy(jnp.sum(binned, 0), (0,)) - entropy(joint, (0, 1))


@functools.partial(jax.jit, static_argnames='permutations')
def _with_null(
    key: Array, members: Array, activations: Array, binned: Array, permutations: int
) -> tuple[tuple[Array, Array], Array]:
    """Indices high and low, ``[K, M]`` each; the two statistics ``[2, 2 + P, M]``: of the labels as they are, of labels
    shuffled, and of P permutations more.
    """
    shifted = unit(activations)

    def statistics(members: Array) -> Array:
        return jnp.stack([jnp.max(jnp.stack(class_indices(members, shifted)), (0, 1)), information(members, binned)])

    def permuted(i: Array) -> Array:
        return statistics(jax.random.permutation(jax.random.fold_in(key, i), members))

    null = jax.lax.map(permuted, jnp.arange(permutations + 1), batch_size=AT_ONCE)
    return class_indices(members, shifted), jnp.concatenate([statistics(members)[None], null]).swapaxes(0, 1)


@dataclasses.dataclass(frozen=True)
class Test:
    """A statistic of every channel at every level beside what it is under permuted labels, ``[L, C]`` by block.

    Attributes:
      value: the statistic.
      excess: over its mean under permutations, which is its bias.
      p: the share of permutations, the observed one among them, that give as much.
      q: ``p`` by Benjamini & Hochberg 1995, over all blocks, levels and channels of the network.
      strict: the probability under permutations that any channel of the network is as many deviations above its mean: the
        maximum statistic of Westfall & Young 1993.
      shuffled: channels and levels with q below the rate, had the labels been shuffled before.
    """

    value: dict[str, np.ndarray]
    excess: dict[str, np.ndarray]
    p: dict[str, np.ndarray]
    q: dict[str, np.ndarray]
    strict: dict[str, np.ndarray]
    shuffled: int


@dataclasses.dataclass(frozen=True)
class Selectivity:
    """What is known of a network's channels: the two tests, and ``[L, K, C]`` by block the larger index of each class.

    Attributes:
      low: ``[L, K, C]`` by block, whether that index is of the class being low.
      deviation: ``[L, C]`` by block, the standard deviation of activations over images; ``mean`` likewise.
    """

    index: Test
    information: Test
    by_class: dict[str, np.ndarray]
    low: dict[str, np.ndarray]
    mean: dict[str, np.ndarray]
    deviation: dict[str, np.ndarray]


def measure(
    atlas: Atlas,
    num_classes: int,
    options: ConfigDict,
    key: Array,
    progress: Callable[[int], None] = lambda count: None,
) -> Selectivity:
    """Tests all channels of the images that were kept, under the same permutations of their labels.

    Args:
      options: ``config.interpret``: permutations, bins, false_discoveries.
      progress: called with the number of blocks done.
    """
    members = jax.nn.one_hot(atlas.labels, num_classes)
    by_class, low, mean, deviation, both = {}, {}, {}, {}, {}
    for done, (block, kept) in enumerate(atlas.kept.items(), 1):
        n, levels, channels = kept.shape
        flat = kept.reshape(n, -1)
        binned = quantile_bins(flat, options.bins)[:, None] == np.arange(options.bins)[:, None]
        (high, lows), drawn = _with_null(key, members, flat, jnp.asarray(binned, jnp.float32), options.permutations)
        high, lows = (np.asarray(x).reshape(num_classes, levels, channels).swapaxes(0, 1) for x in (high, lows))
        by_class[block], low[block] = np.maximum(high, lows), lows > high
        mean[block], deviation[block] = kept.mean(0), kept.std(0)
        both[block] = np.asarray(drawn).reshape(2, -1, levels, channels)
        progress(done)
    index, shared = (_tested({block: x[i] for block, x in both.items()}, options.false_discoveries) for i in (0, 1))
    return Selectivity(index, shared, by_class, low, mean, deviation)


def _tested(drawn: dict[str, np.ndarray], rate: float) -> Test:
    """Of ``[2 + P, L, C]`` by block, as ``_with_null`` has them."""
    nulls = {block: x[2:].astype(np.float64) for block, x in drawn.items()}
    centre = {block: null.mean(0) for block, null in nulls.items()}
    spread = {block: null.std(0) for block, null in nulls.items()}

    def deviations(x: np.ndarray, block: str) -> np.ndarray:
        return np.where(spread[block] > 0, (x - centre[block]) / np.where(spread[block] > 0, spread[block], 1), 0)

    largest = np.max([deviations(null, block).max((1, 2)) for block, null in nulls.items()], axis=0)

    def p_values(which: int) -> dict[str, np.ndarray]:
        return {
            block: (1 + np.sum(null >= drawn[block][which] - ROUNDING, 0)) / (len(null) + 1)
            for block, null in nulls.items()
        }

    def strict(block: str) -> np.ndarray:
        off = deviations(drawn[block][0], block)
        return (1 + np.sum(largest >= off[..., None], -1)) / (len(largest) + 1)

    p = p_values(0)
    return Test(
        value={block: x[0] for block, x in drawn.items()},
        excess={block: x[0] - centre[block] for block, x in drawn.items()},
        p=p,
        q=_adjusted(p),
        strict={block: strict(block) for block in drawn},
        shuffled=sum(int(np.sum(q <= rate)) for q in _adjusted(p_values(1)).values()),
    )


def _adjusted(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    q = benjamini_hochberg(np.concatenate([x.ravel() for x in p.values()]))
    parts = np.split(q, np.cumsum([x.size for x in p.values()])[:-1])
    return {block: part.reshape(p[block].shape) for block, part in zip(p, parts, strict=True)}


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """``[M]``: the least rate of false discoveries (Benjamini & Hochberg 1995) at which each of the tests is one."""
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty_like(p)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return q


@dataclasses.dataclass(frozen=True)
class Channel:
    """One channel of a block, as its name ``block:number``."""

    block: str
    number: int

    def __str__(self) -> str:
        return f'{self.block}:{self.number}'


def for_class(found: Selectivity, label: int, blocks: Sequence[str], num: int) -> list[Channel]:
    """The channels of these blocks with the largest index for a class, in the mean over levels; the best first."""
    scores = [(block, found.by_class[block][:, label].mean(0)) for block in blocks]
    every = [(float(s), Channel(block, c)) for block, of_block in scores for c, s in enumerate(of_block)]
    return [channel for _, channel in sorted(every, key=lambda pair: -pair[0])[:num]]
