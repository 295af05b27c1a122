"""Images to look at: grids and PNG."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

SMALLEST_TILE = 64


def to_uint8(images: np.ndarray) -> np.ndarray:
    """[-1, 1] to 0 .. 255, rounded."""
    return np.clip(np.round((np.asarray(images, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)


def grid(images: np.ndarray, columns: int = 0) -> np.ndarray:
    """One picture uint8 ``[H', W', C]`` of images uint8 ``[N, H, W, C]``, row by row, as square as may be.

    Small images are magnified by a whole factor, pixels kept visible, to about 64 pixels a side.
    """
    scale = max(1, SMALLEST_TILE // images.shape[1])
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    n, h, w, c = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    gap = 2
    canvas = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, c), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = gap + i // columns * (h + gap), gap + i % columns * (w + gap)
        canvas[y : y + h, x : x + w] = image
    return canvas


def png(image: np.ndarray) -> bytes:
    """A PNG file of uint8 ``[H, W, 1 or 3]``."""
    out = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(out, 'PNG', optimize=True)
    return out.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    """A compressed ``.npz`` file."""
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()
