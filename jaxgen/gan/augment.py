"""Differentiable augmentation (Zhao et al. 2020): what the discriminator sees of real and generated images alike.

Every function takes images ``[N, H, W, C]`` in [-1, 1] and one random number (or pair) an image; grey is zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

Array = jax.Array


def brightness(images: Array, shift: Array) -> Array:
    """``x + shift``, shift ``[N]`` in [-1/2, 1/2]."""
    return images + shift[:, None, None, None]


def saturation(images: Array, factor: Array) -> Array:
    """Distance of every pixel's channels from their mean, times factor ``[N]`` in [0, 2]."""
    grey = jnp.mean(images, axis=3, keepdims=True)
    return (images - grey) * factor[:, None, None, None] + grey


def contrast(images: Array, factor: Array) -> Array:
    """Distance from the image's mean, times factor ``[N]`` in [1/2, 3/2]."""
    mean = jnp.mean(images, axis=(1, 2, 3), keepdims=True)
    return (images - mean) * factor[:, None, None, None] + mean


def translation(images: Array, shift: Array) -> Array:
    """Moved down and right by shift ``[N, 2]`` whole pixels; zeros come in at the borders."""
    n, h, w, _ = images.shape

    def sources(size: int, shift: Array) -> tuple[Array, Array]:
        at = jnp.arange(size) - shift[:, None]
        return jnp.clip(at, 0, size - 1), (at >= 0) & (at < size)

    (y, y_inside), (x, x_inside) = sources(h, shift[:, 0]), sources(w, shift[:, 1])
    moved = images[jnp.arange(n)[:, None, None], y[:, :, None], x[:, None, :]]
    return jnp.where((y_inside[:, :, None] & x_inside[:, None, :])[..., None], moved, 0)


def cutout(images: Array, centre: Array) -> Array:
    """Zeros in a square half as wide as the image, around centre ``[N, 2]`` (row, column), cut off at the borders."""
    _, h, w, _ = images.shape

    def inside(size: int, centre: Array) -> Array:
        side = int(size / 2 + 0.5)
        first = centre[:, None] - side // 2
        return (jnp.arange(size) >= first) & (jnp.arange(size) < first + side)

    hole = inside(h, centre[:, 0])[:, :, None] & inside(w, centre[:, 1])[:, None, :]
    return jnp.where(hole[..., None], 0, images)


def _random_color(key: Array, images: Array) -> Array:
    b, s, c = jax.random.uniform(key, (3, len(images)), images.dtype)
    return contrast(saturation(brightness(images, b - 0.5), 2 * s), c + 0.5)


def _random_translation(key: Array, images: Array) -> Array:
    _, h, w, _ = images.shape
    most = jnp.array([int(h / 8 + 0.5), int(w / 8 + 0.5)])  # an eighth of the side
    return translation(images, jax.random.randint(key, (len(images), 2), -most, most + 1))


def _random_cutout(key: Array, images: Array) -> Array:
    _, h, w, _ = images.shape
    end = jnp.array([size + 1 - int(size / 2 + 0.5) % 2 for size in (h, w)])
    return cutout(images, jax.random.randint(key, (len(images), 2), 0, end))


AUGMENTATIONS = {'color': _random_color, 'translation': _random_translation, 'cutout': _random_cutout}


def augment(key: Array, images: Array, policy: Sequence[str]) -> Array:
    """The augmentations named in ``policy``, in this order, each with random numbers of its own for every image."""
    for i, name in enumerate(policy):
        images = AUGMENTATIONS[name](jax.random.fold_in(key, i), images)
    return images
