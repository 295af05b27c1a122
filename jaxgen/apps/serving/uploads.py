"""Reading of the image that a visitor uploads, which is read once and not kept on a disk."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from jaxgen.apps.edit.inputs import middle_square
from jaxgen.errors import check
from jaxgen.io import pictures

MAX_BYTES = 10_000_000
MAX_SIDE = 8192  # largest side in pixels that is read
SHOWN_SIDE = 384  # largest side in pixels at which an upload is shown


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image that a visitor gave, with the part of it that the network sees.

    Attributes:
      shown: the image, uint8 ``[H', W', C]``, at most ``SHOWN_SIDE`` pixels a side.
      seen: its middle square at the size of the network's images, uint8 ``[H, W, C]``.
      description: its size in words.
      source: the value of ``--config.edit.input`` that names it.
    """

    shown: np.ndarray
    seen: np.ndarray
    description: str
    source: str


def take(path: str) -> bytes:
    """Return the bytes of an uploaded file, and delete the file.

    Raises:
      UserError: if the file is too large.
    """
    file = pathlib.Path(path)
    try:
        _require_size(file.stat().st_size)
        return file.read_bytes()
    finally:
        file.unlink(missing_ok=True)


def read_picture(data: bytes, shape: tuple[int, int, int]) -> Picture:
    """Read the bytes of an image file for a network; the size is checked before any pixel is decoded.

    Args:
      data: the bytes of the file.
      shape: height, width and channels of the network's images.

    Raises:
      UserError: if the file is too large, or not an image that ``jaxgen.io.pictures`` accepts.
    """
    _require_size(len(data))
    side, _, channels = shape
    image = pictures.decode(data, 'the uploaded file', channels, max_side=MAX_SIDE)
    width, height = image.size
    seen = middle_square(image, side)
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    shown = np.asarray(image).reshape(image.height, image.width, channels)
    colours = 'grey' if channels == 1 else 'colour'
    description = f'{width}x{height} pixels; the network sees its middle square at {side}x{side} pixels in {colours}'
    return Picture(shown, seen, description, 'FILE')


def picture_of_data_set(name: str, split: str, number: int, image: np.ndarray) -> Picture:
    """Return image ``number`` of a split, uint8 ``[H, W, C]``, as if a visitor had given it."""
    return Picture(image, image, f'image {number} of {name}:{split}, unchanged', f'{name}:{split}:{number}')


def _require_size(size: int) -> None:
    check(size <= MAX_BYTES, f'the file has {size:,} bytes, but at most {MAX_BYTES:,} are read: make the image smaller')
