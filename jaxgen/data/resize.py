"""Resize images with antialiasing."""

from __future__ import annotations

import numpy as np
from PIL import Image


def resize(image: Image.Image, size: int, area: tuple[float, float, float, float] | None = None) -> np.ndarray:
    """Resize an area of an image to uint8 ``[size, size, C]``, bicubic with antialiasing.

    An area that has the wanted size already is copied unchanged.

    Args:
      image: in any mode of PIL; its bands become the channels.
      size: side of the result in pixels.
      area: (left, top, right, bottom) in pixels; the whole image if not set.
    """
    area = area or (0, 0, *image.size)
    resized = image.resize((size, size), Image.Resampling.BICUBIC, box=area)
    return np.asarray(resized).reshape(size, size, len(image.getbands()))
