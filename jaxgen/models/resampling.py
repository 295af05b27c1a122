"""Bilinear resampling by a factor of two: the interpolative resampler of R3GAN for the filter [1, 2, 1].

The official code combines the filter and the repetition of pixels into one filter with four taps, [1, 3, 3, 1], and pads with
zeros. Here each dimension is resampled by a sum of shifted images; XLA fuses the sum, and also its gradient. Images are
``[N, H, W, C]``.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgen.types import Array


def bilinear_upsample(x: Float[Array, 'n h w c']) -> Float[Array, 'n h2 w2 c']:
    """Double the side of images: a pixel is 9/16 of the nearest source pixel, plus 3/16, 3/16 and 1/16 of the next three."""
    for axis in (1, 2):
        before, after = _neighbours(x, axis)
        pair = jnp.stack([3 * x + before, 3 * x + after], axis=axis + 1) / 4
        x = pair.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
    return x


def bilinear_downsample(x: Float[Array, 'n h w c']) -> Float[Array, 'n h2 w2 c']:
    """Halve the side of images: in each dimension, a pixel is the mean of four pixels with the weights 1, 3, 3 and 1."""
    for axis in (1, 2):
        pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
        first, second = (jax.lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
        before, _ = _neighbours(second, axis)
        _, after = _neighbours(first, axis)
        x = (before + 3 * first + 3 * second + after) / 8
    return x


def _neighbours(x: Array, axis: int) -> tuple[Array, Array]:
    """Return the previous and the next pixel of each pixel along an axis, as two images with zeros beyond the border."""
    size = x.shape[axis]
    border = jnp.zeros_like(jax.lax.slice_in_dim(x, 0, 1, axis=axis))
    before = jnp.concatenate([border, jax.lax.slice_in_dim(x, 0, size - 1, axis=axis)], axis)
    after = jnp.concatenate([jax.lax.slice_in_dim(x, 1, size, axis=axis), border], axis)
    return before, after
