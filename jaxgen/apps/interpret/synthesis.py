"""Images that drive a channel, after Olah et al. 2017 (Feature Visualization).

The image x is tanh of learned numbers. Every step of gradient ascent moves it by a few pixels, scales it by up to a tenth, adds
new noise and, if the network needs a class, gives it another class. Only features that survive all of these changes are learned.
The ascent maximises

    z - smoothness TV(x)

where z is the mean activation of the channel, in standard deviations over real images, and TV is the mean absolute difference of
neighbouring pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from jaxgen.apps.interpret.activations import Probe, channel_means
from jaxgen.apps.interpret.selectivity import Channel, Selectivity
from jaxgen.types import Array, PyTree

LEARNING_RATE = 0.05  # learning rate of Adam
SCALES = 0.9, 1.1  # smallest and largest scale of the image in a step
MEASUREMENTS = 8  # the drive before and after is the mean of this many measurements, each with its own noise


class Target(NamedTuple):
    """A channel to drive.

    Attributes:
      channel: the channel.
      label: the class to which the channel responds most.
      low: whether the channel responds by being low; if so, it is driven down.
      level: the noise level at which the channel tells that class apart best.
      mean: mean of its activation over real images at that level.
      deviation: standard deviation of its activation over real images at that level.
    """

    channel: Channel
    label: int
    low: bool
    level: int
    mean: float
    deviation: float


def make_target(found: Selectivity, channel: Channel) -> Target:
    """Return a channel as a target, with the class and the noise level at which its index is largest."""
    block, c = channel.block, channel.number
    scores = found.by_class[block][:, :, c]
    level, label = np.unravel_index(np.argmax(scores), scores.shape)
    return Target(
        channel,
        int(label),
        bool(found.low[block][level, label, c]),
        int(level),
        float(found.mean[block][level, c]),
        float(found.deviation[block][level, c]),
    )


def most_selective(found: Selectivity, block: str) -> Channel:
    """Return the channel of a block with the largest index at any noise level."""
    return Channel(block, int(found.index.value[block].max(0).argmax()))


def total_variation(image: Float[Array, 'h w c']) -> Float[Array, '']:
    """Return the mean absolute difference of neighbouring pixels."""
    return jnp.mean(jnp.abs(jnp.diff(image, axis=0))) + jnp.mean(jnp.abs(jnp.diff(image, axis=1)))


def jittered(image: Float[Array, 'h w c'], key: Array) -> Float[Array, 'h w c']:
    """Move an image by up to a sixteenth of its side or one pixel, and scale it within ``SCALES``; the border is grey."""
    size = jnp.asarray(image.shape[:2], jnp.float32)
    reach = jnp.maximum(size / 16, 1)
    scale = jax.random.uniform(key, (), minval=SCALES[0], maxval=SCALES[1])
    shift = jax.random.uniform(jax.random.fold_in(key, 1), (2,), minval=-1, maxval=1) * reach
    return jax.image.scale_and_translate(
        image,
        image.shape,
        (0, 1),
        jnp.stack([scale, scale]),
        shift + (1 - scale) * size / 2,
        'linear',
        antialias=False,
    )


@dataclasses.dataclass(frozen=True)
class Synthesised:
    """Images that drive channels.

    Attributes:
      images: an image for each target, float32 ``[T, H, W, C]`` in [-1, 1].
      before: the drive of each channel by the first image of the ascent, in standard deviations over real images, ``[T]``.
      after: the drive of each channel by the final image, ``[T]``.
    """

    images: np.ndarray
    before: np.ndarray
    after: np.ndarray


class _Rows(NamedTuple):
    """The index of each target's channel among all channels, and the scale of its drive: arrays ``[T]``."""

    place: np.ndarray
    level: np.ndarray
    mean: np.ndarray
    unit: np.ndarray


def synthesise(
    probe: Probe,
    image_shape: tuple[int, int, int],
    targets: Sequence[Target],
    *,
    steps: int,
    smoothness: float,
    key: Array,
) -> Synthesised:
    """Make images for all targets at once by gradient ascent.

    Args:
      probe: a network that ignores the label.
      image_shape: height, width and channels of the images.
      targets: channels of the blocks of the network.
      steps: steps of Adam.
      smoothness: weight of the total variation.
      key: random key of the first images and of the changes in each step.
    """
    blocks = probe.blocks(image_shape)
    rows, drive = _rows(blocks, targets), _drive(probe, blocks)

    def loss(learned: Array, variables: PyTree, key: Array, row: _Rows) -> Array:
        image = jnp.tanh(learned)
        driven = drive(variables, jittered(image, key), jax.random.fold_in(key, 2), row)
        return smoothness * total_variation(image) - driven

    @jax.jit
    def ascend(variables: PyTree, key: Array, learned: Array) -> tuple[Array, Array, Array]:
        optimizer = optax.adam(LEARNING_RATE)
        gradients_of_all = jax.vmap(jax.grad(loss), (0, None, None, 0))

        def step(carry, i):
            learned, state = carry
            gradients = gradients_of_all(learned, variables, jax.random.fold_in(key, i), rows)
            updates, state = optimizer.update(gradients, state)
            return (optax.apply_updates(learned, updates), state), None

        def measure(learned: Array) -> Array:
            keys = jax.vmap(lambda i: jax.random.fold_in(key, steps + i))(jnp.arange(MEASUREMENTS))
            drive_of_all = jax.vmap(drive, (None, 0, None, 0))
            return jnp.mean(jax.lax.map(lambda k: drive_of_all(variables, jnp.tanh(learned), k, rows), keys), 0)

        (last, _), _ = jax.lax.scan(step, (learned, optimizer.init(learned)), jnp.arange(steps))
        return jnp.tanh(last), measure(learned), measure(last)

    noise = jax.random.normal(jax.random.fold_in(key, steps + MEASUREMENTS), (len(targets), *image_shape))
    return Synthesised(*map(np.asarray, ascend(probe.variables, key, 0.1 * noise)))


def _rows(blocks: Mapping[str, int], targets: Sequence[Target]) -> _Rows:
    offsets = dict(zip(blocks, np.cumsum([0, *blocks.values()]), strict=False))
    signs = np.array([-1.0 if target.low else 1.0 for target in targets], np.float32)
    deviations = np.array([target.deviation for target in targets], np.float32)
    return _Rows(
        place=np.array([offsets[target.channel.block] + target.channel.number for target in targets], np.int32),
        level=np.array([target.level for target in targets], np.int32),
        mean=np.array([target.mean for target in targets], np.float32),
        unit=signs / np.maximum(deviations, 1e-12),
    )


def _drive(probe: Probe, blocks: Mapping[str, int]) -> Callable[[PyTree, Array, Array, _Rows], Array]:
    """Return a function that measures how far an image drives the channel of a row, in standard deviations."""

    def drive(variables: PyTree, image: Array, key: Array, row: _Rows) -> Array:
        no_label = jnp.zeros(1, jnp.int32)
        means = channel_means(probe.forward, variables, image[None], no_label, key[None], row.level)
        return (jnp.concatenate([means[block][0] for block in blocks])[row.place] - row.mean) * row.unit

    return drive
