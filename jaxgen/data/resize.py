"""Resize images with antialiasing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

FILTERS = {'bicubic': Image.Resampling.BICUBIC, 'lanczos': Image.Resampling.LANCZOS, 'area': Image.Resampling.BOX}
WHOLE_IMAGE = (0.0, 0.0, 1.0, 1.0)  # as a bounding box (ymin, xmin, ymax, xmax)


def resize(
    image: Image.Image,
    size: int,
    area: tuple[float, float, float, float] | None = None,
    filter: str = 'bicubic',
    length: int | None = None,
) -> np.ndarray:
    """Resize an area of an image to uint8 ``[length, size, C]`` with antialiasing.

    An area that already has this size is copied unchanged.

    Args:
      image: the image, in any mode of PIL; its bands become the channels.
      size: width of the result in pixels.
      area: (left, top, right, bottom) in pixels; the whole image if not set.
      filter: a key of ``FILTERS``.
      length: height of the result in pixels; ``size`` if not set.
    """
    area = area or (0, 0, *image.size)
    resized = image.resize((size, length or size), FILTERS[filter], box=area)
    return np.asarray(resized).reshape(length or size, size, len(image.getbands()))


def square_around(box: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
    """Return the square (left, top, right, bottom), in whole pixels, around a bounding box.

    The side of the square is the longer side of the box, but at most the shorter side of the image. The square is centred on the
    box, and moved inside the image where it would stick out.

    Args:
      box: (ymin, xmin, ymax, xmax) as fractions of the image's sides, as in TFDS.
      width: width of the image in pixels.
      height: height of the image in pixels.
    """
    ymin, xmin, ymax, xmax = box
    side = max(1, min(round(max((ymax - ymin) * height, (xmax - xmin) * width)), height, width))
    left = min(max(int((xmin + xmax) / 2 * width - side / 2), 0), width - side)
    top = min(max(int((ymin + ymax) / 2 * height - side / 2), 0), height - side)
    return left, top, left + side, top + side
