"""A visitor's picture: looked at once, never kept on a disk."""

from __future__ import annotations

import dataclasses
import io
import pathlib

import numpy as np
from PIL import Image

from jaxgen.apps.edit.inputs import decode, square
from jaxgen.errors import UserError, check

LARGEST_FILE = 10_000_000  # bytes
LARGEST_SIDE = 8192  # pixels
SHOWN = 384  # pixels of the side of what was uploaded, as it is shown


@dataclasses.dataclass(frozen=True)
class Picture:
    """What was given, and what the network sees of it.

    Attributes:
      shown: uint8 ``[H', W', C]``, at most ``SHOWN`` pixels a side.
      seen: uint8 ``[H, W, C]``.
      says: what it is, in words.
      source: its name for ``--config.edit.input``.
    """

    shown: np.ndarray
    seen: np.ndarray
    says: str
    source: str


def take(path: str) -> bytes:
    """The bytes of an uploaded file, which is removed.

    Raises:
      UserError: if it is too large.
    """
    file = pathlib.Path(path)
    try:
        size = file.stat().st_size
        check(
            size <= LARGEST_FILE,
            f'the file has {size:,} bytes, and at most {LARGEST_FILE:,} are taken: make the picture smaller',
        )
        return file.read_bytes()
    finally:
        file.unlink(missing_ok=True)


def picture(data: bytes, shape: tuple[int, int, int]) -> Picture:
    """Of a file's bytes, for a network of this shape; its size is read before its pixels.

    Raises:
      UserError: if it is no picture, moves, has an alpha channel, or is too large.
    """
    check(
        len(data) <= LARGEST_FILE,
        f'the file has {len(data):,} bytes, and at most {LARGEST_FILE:,} are taken: make the picture smaller',
    )
    width, height = _size(data)
    check(
        max(width, height) <= LARGEST_SIDE,
        f'the picture has {width}x{height} pixels, and at most {LARGEST_SIDE} a side are read: make it smaller',
    )
    side, _, channels = shape
    mode = 'RGB' if channels == 3 else 'L'
    image = decode(data, 'the picture', mode)
    seen = square(image, side)
    image.thumbnail((SHOWN, SHOWN))
    shown = np.asarray(image).reshape(image.height, image.width, channels)
    colours = 'grey' if channels == 1 else 'colour'
    says = f'{width}x{height} pixels, its middle square in {side}x{side} and {colours}'
    return Picture(shown, seen, says, 'FILE')


def of_data_set(name: str, split: str, number: int, image: np.ndarray) -> Picture:
    """Image ``number`` of a split, uint8 ``[H, W, C]``."""
    return Picture(image, image, f'image {number} of {name}:{split}, as it is', f'{name}:{split}:{number}')


def _size(data: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(data)) as image:
            check(
                not getattr(image, 'is_animated', False),
                'the picture moves, and a network sees a single one: save one of its frames',
            )
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise UserError('the file is not a picture that can be read: upload a PNG, JPEG or WebP') from e
