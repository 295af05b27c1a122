"""Pictures that drive a channel, after Olah et al. 2017 (Feature Visualization), and what a model makes of them.

The picture x is tanh of what is learned. Every step of gradient ascent sees it anew, moved by a few pixels and scaled by up to
a tenth, with other noise on it and, where the network must be told a class, told another, so that only what survives all
that is learned. It ascends
z - smoothness * TV(x): z is the channel's mean activation in standard deviations over real images, and TV the mean
absolute difference of neighbouring pixels.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxgen.apps.interpret.activations import Probe, channel_means
from jaxgen.apps.interpret.selectivity import Channel, Selectivity
from jaxgen.apps.trained import Trained
from jaxgen.diffusion.editing import last_levels
from jaxgen.diffusion.noise import step_noise
from jaxgen.io.images import to_uint8
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.runtime.mesh import batch_sharding, replicated
from jaxgen.runtime.random import image_keys
from jaxgen.training.sampling import cycled_labels

Array = jax.Array
LEARNING_RATE = 0.05  # of Adam
SCALES = 0.9, 1.1
LOOKS = 8  # of which the drive before and after is a mean, each with noise of its own


class Target(NamedTuple):
    """A channel to drive.

    Attributes:
      label: the class that it answers to most, at ``level``, where it tells classes apart best.
      low: whether that class is where it is low; then it is driven down.
      mean: of its activation over real images; ``deviation`` likewise.
    """

    channel: Channel
    label: int
    low: bool
    level: int
    mean: float
    deviation: float


def target(found: Selectivity, channel: Channel) -> Target:
    """What is known of a channel."""
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
    """The channel of a block with the largest index at any level."""
    return Channel(block, int(found.index.value[block].max(0).argmax()))


def total_variation(image: Array) -> Array:
    """The mean absolute difference of neighbouring pixels of ``[H, W, C]``."""
    return jnp.mean(jnp.abs(jnp.diff(image, axis=0))) + jnp.mean(jnp.abs(jnp.diff(image, axis=1)))


def seen_anew(image: Array, key: Array) -> Array:
    """``[H, W, C]`` moved by up to a sixteenth of its side, at least a pixel, and scaled by ``SCALES``; beyond it is grey."""
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
class Driven:
    """Pictures float32 ``[T, H, W, C]`` in [-1, 1], and how far each drives its channel, in standard deviations over real
    images: ``[T]`` at the start of the ascent and at its end.
    """

    pictures: np.ndarray
    before: np.ndarray
    after: np.ndarray


def drive(
    probe: Probe,
    image_shape: tuple[int, int, int],
    blocks: Mapping[str, int],
    targets: Sequence[Target],
    steps: int,
    smoothness: float,
    key: Array,
) -> Driven:
    """Ascends for all targets at once.

    Args:
      probe: looks at pictures whatever they are labelled.
      blocks: of ``Probe.blocks``.
    """
    offsets = dict(zip(blocks, np.cumsum([0, *blocks.values()]), strict=False))
    places = np.array([offsets[t.channel.block] + t.channel.number for t in targets], np.int32)
    signs = np.array([-1.0 if t.low else 1.0 for t in targets], np.float32)
    means, deviations = (np.array([getattr(t, f) for t in targets], np.float32) for f in ('mean', 'deviation'))
    rows = places, np.array([t.level for t in targets], np.int32), means, signs / np.maximum(deviations, 1e-12)

    def z(variables: Any, picture: Array, key: Array, row: tuple) -> Array:
        place, level, mean, unit = row
        nothing = jnp.zeros(1, jnp.int32)
        found = channel_means(probe.look, variables, picture[None], nothing, key[None], level)
        return (jnp.concatenate([found[block][0] for block in blocks])[place] - mean) * unit

    def loss(learned: Array, variables: Any, key: Array, row: tuple) -> Array:
        picture = jnp.tanh(learned)
        driven = z(variables, seen_anew(picture, key), jax.random.fold_in(key, 2), row)
        return smoothness * total_variation(picture) - driven

    @jax.jit
    def ascend(variables: Any, key: Array, learned: Array) -> tuple[Array, Array, Array]:
        optimizer = optax.adam(LEARNING_RATE)
        of_all = jax.vmap(jax.grad(loss), (0, None, None, 0))

        def step(carry, i):
            learned, state = carry
            grads = of_all(learned, variables, jax.random.fold_in(key, i), rows)
            updates, state = optimizer.update(grads, state)
            return (optax.apply_updates(learned, updates), state), None

        def measured(learned: Array) -> Array:
            keys = jax.vmap(lambda i: jax.random.fold_in(key, steps + i))(jnp.arange(LOOKS))
            each = jax.lax.map(lambda k: jax.vmap(z, (None, 0, None, 0))(variables, jnp.tanh(learned), k, rows), keys)
            return jnp.mean(each, 0)

        (last, _), _ = jax.lax.scan(step, (learned, optimizer.init(learned)), jnp.arange(steps))
        return jnp.tanh(last), measured(learned), measured(last)

    start = 0.1 * jax.random.normal(jax.random.fold_in(key, steps + LOOKS), (len(targets), *image_shape))
    return Driven(*map(np.asarray, ascend(probe.variables, key, start)))


@dataclasses.dataclass(frozen=True)
class Denoised:
    """What a diffusion model draws from the pictures, and at last from a grey one, each with the same noise.

    Attributes:
      strengths: of the noise, ``[S]``.
      images: uint8 ``[S, T + 1, V, H, W, C]``.
      told: int32 ``[V]``, the class that the model was told; -1 for none.
    """

    strengths: tuple[float, ...]
    images: np.ndarray
    told: np.ndarray


def denoise(trained: Trained, variables: Any, pictures: np.ndarray, options: ConfigDict, key: Array) -> Denoised:
    """Noise of each strength on the pictures, and from there on as the model draws (Meng et al. 2022, SDEdit)."""
    method: Diffusion = trained.method
    starts = np.concatenate([pictures, np.zeros_like(pictures[:1])])
    labels = cycled_labels(told_classes(trained), 0, options.variations)
    size, total = trained.config.sample.batch_size, len(starts) * options.variations

    @functools.partial(jax.jit, static_argnames='strength', out_shardings=replicated(trained.mesh))
    def draw(variables: Any, starts: Array, labels: Array, numbers: Array, strength: float) -> Array:
        levels = last_levels(method.levels(variables), strength)
        keys = image_keys(key, numbers)
        x = levels.alpha[0] * starts + levels.sigma[0] * step_noise(keys, 0, method.image_shape)
        return method.prepare(variables, keys, labels, levels=levels, x=x).images()

    drawn = []
    for strength in options.strengths:
        for start in range(0, total, size):
            which, variation = np.divmod(np.arange(start, start + size) % total, options.variations)
            batch = jax.device_put((starts[which], labels[variation], variation), batch_sharding(trained.mesh))
            drawn.append(to_uint8(draw(variables, *batch, strength=strength))[: total - start])
    images = np.concatenate(drawn).reshape(len(options.strengths), len(starts), options.variations, *method.image_shape)
    knows = method.capabilities.knows_classes and labels.max() < len(trained.class_names)
    return Denoised(tuple(options.strengths), images, labels if knows else np.full_like(labels, -1))


def told_classes(trained: Trained) -> tuple[int, ...]:
    """What is told a network that is to draw what it sees in a picture: that there is no class, or, where it was not trained
    for that, all in turn.
    """
    if getattr(trained.method, 'label_dropout', 0):
        return (trained.method.null_label,)
    return tuple(range(len(trained.class_names) if trained.config.model.conditional else 1))
