"""Resizing with antialiasing."""

from __future__ import annotations

import numpy as np
from PIL import Image


def resize(image: Image.Image, size: int, area: tuple[float, float, float, float] | None = None) -> np.ndarray:
    """An area (left, top, right, bottom; the whole by default) as uint8 ``[size, size, C]``, bicubic, antialiased.

    An area of that size already is copied unchanged.
    """
    area = area or (0, 0, *image.size)
    resized = image.resize((size, size), Image.Resampling.BICUBIC, box=area)
    return np.asarray(resized).reshape(size, size, len(image.getbands()))


def clean_resize(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 ``[H, W, 3]`` to float32 ``[size, size, 3]``, not rounded: clean-FID's (Parmar et al. 2022).

    Each channel is resized by Pillow on floating-point numbers, bicubic with antialiasing.
    """
    channels = [Image.fromarray(image[..., i].astype(np.float32)) for i in range(image.shape[-1])]
    resized = [np.asarray(c.resize((size, size), Image.Resampling.BICUBIC)) for c in channels]
    return np.stack(resized, axis=-1)
