"""PIL's bicubic resize, computed on the device and bit for bit the same as PIL's."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from jaxgen.types import Array

SUPPORT = 2.0  # radius of the bicubic filter, in output pixels if the image shrinks and in input pixels if it grows
BITS = 22  # number of binary places of PIL's weights


def bicubic_resize(images: UInt8[Array, 'n h w c'], height: int, width: int) -> UInt8[Array, 'n height width c']:
    """Resize images as PIL's antialiased bicubic filter does.

    PIL first resizes along the width, then along the height. It computes in integers and rounds after each of the two steps.

    Args:
      images: images with values 0 .. 255.
      height: height of the result in pixels.
      width: width of the result in pixels.

    Returns:
      The resized images, with values 0 .. 255; the images themselves if they already have this size.
    """
    return _resize_axis(_resize_axis(images, 2, width), 1, height)


def _resize_axis(x: Array, axis: int, size: int) -> Array:
    if x.shape[axis] == size:
        return x
    indices, weights = _taps(x.shape[axis], size)
    shape = [1] * x.ndim
    shape[axis] = size
    total = jnp.full((), 1 << (BITS - 1), jnp.int32)  # one half: the shift below then rounds to the nearest
    for index, weight in zip(indices.T, weights.T, strict=True):
        total += jnp.take(x, index, axis).astype(jnp.int32) * weight.reshape(shape)
    return jnp.clip(total >> BITS, 0, 255).astype(jnp.uint8)


def _taps(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the input pixels that make up each output pixel, and their weights.

    Args:
      size: number of input pixels.
      new_size: number of output pixels.

    Returns:
      Indices and weights, int32 ``[new_size, taps]`` each; weights are multiples of ``2 ** -BITS``.
    """
    scale = size / new_size
    filter_scale = max(scale, 1.0)
    centres = (np.arange(new_size) + 0.5) * scale
    first = np.maximum((centres - SUPPORT * filter_scale + 0.5).astype(int), 0)
    end = np.minimum((centres + SUPPORT * filter_scale + 0.5).astype(int), size)
    at = first[:, None] + np.arange((end - first).max())
    weights = _bicubic((at - centres[:, None] + 0.5) / filter_scale)
    weights = np.where(at < end[:, None], weights, 0.0)
    weights /= weights.sum(1, keepdims=True)
    rounded = np.trunc(weights * (1 << BITS) + np.copysign(0.5, weights))
    return np.minimum(at, size - 1).astype(np.int32), rounded.astype(np.int32)


def _bicubic(x: np.ndarray) -> np.ndarray:
    """Evaluate Keys' cubic filter with a = -1/2, which is zero beyond ``SUPPORT``."""
    x = np.abs(x)
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, inner, np.where(x < SUPPORT, outer, 0.0))
