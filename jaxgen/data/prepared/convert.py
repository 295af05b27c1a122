"""Make squares of files. Processes of their own run this module, so it imports little."""

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

LONGEST = 2  # length of the longest strip of crop=random, in sides


@dataclasses.dataclass(frozen=True)
class Conversion:
    """How each file becomes an image.

    Attributes:
      size: side of the images in pixels.
      channels: 1 for grey or 3 for colour.
      crop: ``center``: the largest square in the middle; ``random``: a strip whose short side is the whole image and from
        which training crops squares, at most twice as long as wide; ``none``: the image must be square.
      filter: a key of ``resize.FILTERS``.
      background: the colour on which transparent images are laid.
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
    """An image that was stored.

    Attributes:
      sha256: of the bytes of its file.
      width: of the upright image as it was found, in pixels.
      height: of that image.
      length: of the strip of crop=random, otherwise the side.
      is_wide: whether a strip was transposed.
    """

    sha256: str
    width: int
    height: int
    length: int
    is_wide: bool


def convert(data: bytes, name: str, how: Conversion) -> tuple[np.ndarray, Converted]:
    """Return an image as it is stored, uint8 ``how.stored_shape``.

    Args:
      data: the bytes of the file.
      name: of the file, for messages.
      how: what to make of it.

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
    """Return the strip of an image that is at least as high as wide: its whole width, and the middle of its height."""
    width, height = image.size
    kept = min(height, LONGEST * width)
    top = (height - kept) / 2
    length = round(how.size * kept / width)
    return resize(image, how.size, (0, top, width, top + kept), how.filter, length)


def convert_files(
    reader: Reader, keys: Sequence[Key], names: Sequence[str], how: Conversion, file: pathlib.Path, offset: int
) -> list[Converted | str]:
    """Convert consecutive files and write them to their rows of the file of images.

    Args:
      reader: reads the files.
      keys: what the reader takes for each.
      names: of the files, for messages.
      how: what to make of them.
      file: the file of images.
      offset: where the first row lies in it, in bytes.

    Returns:
      What was stored of each file, or why it cannot be used.
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
