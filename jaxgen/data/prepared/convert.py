"""Convert files to square images. Worker processes import this module, so it imports little itself."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxgen.data.prepared.listing import Key, Reader
from jaxgen.data.resize import WHOLE_IMAGE, resize, square_around
from jaxgen.errors import UserError, check
from jaxgen.io import pictures
from jaxgen.io.pictures import Colour

LONGEST = 2  # largest length of a strip of crop=random, as a multiple of its width


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A description of how each file becomes an image.

    Attributes:
      size: side of the images in pixels.
      channels: 1 for grey or 3 for colour.
      crop: ``center``: the largest square in the middle; ``random``: a strip from which training crops squares, as wide as the
        short side of the image and at most twice as long; ``none``: the image must be square.
      filter: a key of ``resize.FILTERS``.
      background: the background colour of transparent images.
    """

    size: int
    channels: int
    crop: str
    filter: str
    background: Colour

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """The shape in which each image is stored."""
        return (LONGEST if self.crop == 'random' else 1) * self.size, self.size, self.channels


class Converted(NamedTuple):
    """A record of an image that was stored.

    Attributes:
      sha256: hash of the bytes of the file.
      width: width of the original image in pixels, after it was turned upright.
      height: height of the original image in pixels, after it was turned upright.
      length: length of the strip for crop=random, otherwise the side of the square, in pixels.
      is_wide: whether the strip was transposed, since the image is wider than high.
    """

    sha256: str
    width: int
    height: int
    length: int
    is_wide: bool


def convert(data: bytes, name: str, how: Conversion) -> tuple[np.ndarray, Converted]:
    """Return the image of a file as it is stored, uint8 ``how.stored_shape``, and a record of it.

    Args:
      data: the bytes of the file.
      name: name of the file, for messages.
      how: describes the conversion.

    Raises:
      UserError: if the file cannot be used.
    """
    image = pictures.decode(data, name, how.channels, background=how.background)
    width, height = image.size
    check(
        how.crop != 'none' or width == height,
        f'{name} has {width}x{height} pixels, but crop=none takes square images: choose crop=center',
    )
    is_wide = how.crop == 'random' and width > height
    if is_wide:
        image = image.transpose(Image.Transpose.TRANSPOSE)
    stored = np.zeros(how.stored_shape, np.uint8)
    strip = _strip(image, how) if how.crop == 'random' else _square(image, how)
    stored[: len(strip)] = strip
    return stored, Converted(hashlib.sha256(data).hexdigest(), width, height, len(strip), is_wide)


def _square(image: Image.Image, how: Conversion) -> np.ndarray:
    return resize(image, how.size, square_around(WHOLE_IMAGE, *image.size), how.filter)


def _strip(image: Image.Image, how: Conversion) -> np.ndarray:
    """Return the strip of an image that is not wider than high: its whole width, and the middle part of its height."""
    width, height = image.size
    kept = min(height, LONGEST * width)
    top = (height - kept) / 2
    length = round(how.size * kept / width)
    return resize(image, how.size, (0, top, width, top + kept), how.filter, length)


def convert_files(
    reader: Reader, keys: Sequence[Key], names: Sequence[str], how: Conversion, file: pathlib.Path, offset: int
) -> list[Converted | str]:
    """Convert consecutive files and write them to consecutive rows of the file of stored images.

    Args:
      reader: reads the files.
      keys: the reader's key of each file.
      names: the name of each file, for messages.
      how: describes the conversion.
      file: the file of stored images.
      offset: the position of the first of these rows in that file, in bytes.

    Returns:
      A record of each stored image, or the reason why its file cannot be used.
    """
    found: list[Converted | str] = []
    size = int(np.prod(how.stored_shape))
    with open(file, 'r+b') as target:
        for i, data in enumerate(reader.read(keys)):
            try:
                if isinstance(data, UserError):
                    raise data
                stored, converted = convert(data, names[i], how)
            except UserError as e:
                found.append(str(e))
                continue
            target.seek(offset + i * size)
            target.write(stored.tobytes())
            found.append(converted)
    return found
