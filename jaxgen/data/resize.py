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
