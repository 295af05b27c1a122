"""Images to look at: grids and PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SMALLEST_TILE = 64


def to_uint8(images: np.ndarray) -> np.ndarray:
    """[-1, 1] to 0 .. 255, rounded."""
    return np.clip(np.round((np.asarray(images, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)


def from_uint8(images: Any) -> Any:
    """Convert uint8 images, arrays of NumPy or JAX, from 0 ... 255 to float32 in [-1, 1]."""
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def grid(images: np.ndarray, columns: int = 0, captions: Sequence[str] = ()) -> np.ndarray:
    """One picture uint8 ``[H', W', C]`` of images uint8 ``[N, H, W, C]``, row by row, as square as may be.

    Small images are magnified by a whole factor, pixels kept visible, to about 64 pixels a side, or 128 where there are
    captions; a caption stands below its image, cut at its width.
    """
    scale = max(1, (128 if captions else SMALLEST_TILE) // images.shape[1])
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    if captions:
        below = np.stack([_caption(text, images.shape[2], images.shape[3]) for text in captions])
        images = np.concatenate([images, below], axis=1)
    n, h, w, c = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    gap = 2
    canvas = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, c), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = gap + i // columns * (h + gap), gap + i % columns * (w + gap)
        canvas[y : y + h, x : x + w] = image
    return canvas


def _caption(text: str, width: int, channels: int) -> np.ndarray:
    """Black on white, 14 pixels high: uint8 ``[14, width, channels]``."""
    strip = Image.new('L', (width, 14), 255)
    ImageDraw.Draw(strip).text((1, 1), text, fill=0, font=ImageFont.load_default(size=10))
    return np.asarray(strip)[..., None].repeat(channels, axis=2)


def png(image: np.ndarray) -> bytes:
    """A PNG file of uint8 ``[H, W, 1 or 3]``."""
    out = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(out, 'PNG', optimize=True)
    return out.getvalue()


def webp(frames: Sequence[np.ndarray], milliseconds: int = 120, last: int = 1500) -> bytes:
    """An animated WebP of frames uint8 ``[H, W, 1 or 3]``, without loss; the last one stays for ``last`` milliseconds."""
    pictures = [Image.fromarray(f[..., 0] if f.shape[-1] == 1 else f).convert('RGB') for f in frames]
    times = [milliseconds] * (len(pictures) - 1) + [last]
    out = io.BytesIO()
    pictures[0].save(out, 'WEBP', save_all=True, append_images=pictures[1:], duration=times, loop=0, lossless=True)
    return out.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    """A compressed ``.npz`` file."""
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()
