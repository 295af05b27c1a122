"""Encode images as PNG and WebP files, and convert between the value ranges of models and of image files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxgen.types import Fields


def to_uint8(images: Any) -> Any:
    """Convert images from [-1, 1] to 0 .. 255: values are rounded, and clipped to that range.

    Args:
      images: an array of numbers. The result is a NumPy array, or a JAX array inside ``jax.jit``.
    """
    if isinstance(images, jax.core.Tracer):
        return jnp.clip(jnp.round((images + 1) * 127.5), 0, 255).astype(jnp.uint8)
    return np.clip(np.round((np.asarray(images, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)


def from_uint8(images: Any) -> Any:
    """Convert images from uint8 in 0 .. 255 to float32 in [-1, 1]; takes NumPy and JAX arrays."""
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def png(image: np.ndarray) -> bytes:
    """Encode an image uint8 ``[H, W, 1 or 3]`` as a PNG file."""
    out = io.BytesIO()
    _picture(image).save(out, 'PNG')
    return out.getvalue()


def webp(frames: Sequence[np.ndarray], milliseconds: int = 120, last: int = 1500) -> bytes:
    """Encode images as an animated, lossless WebP file.

    Args:
      frames: images uint8 ``[H, W, 1 or 3]``.
      milliseconds: time for which each frame except the last is shown.
      last: time for which the last frame is shown, in milliseconds.
    """
    pictures = [_picture(frame).convert('RGB') for frame in frames]
    times = [milliseconds] * (len(pictures) - 1) + [last]
    out = io.BytesIO()
    pictures[0].save(out, 'WEBP', save_all=True, append_images=pictures[1:], duration=times, loop=0, lossless=True)
    return out.getvalue()


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def npz(**arrays: np.ndarray) -> bytes:
    """Encode arrays as a compressed ``.npz`` file."""
    out = io.BytesIO()
    contents: Fields = arrays
    np.savez_compressed(out, **contents)
    return out.getvalue()
