"""The pictures that an edit starts from, as the network sees them."""

from __future__ import annotations

import io
import pathlib
import re

import numpy as np
from PIL import Image

from jaxgen.data import SOURCES, load
from jaxgen.data.resize import resize
from jaxgen.errors import UserError, check, pick

LARGEST = 50_000_000  # pixels of a picture: more is a mistake, or meant to exhaust the memory
OF_DATA_SET = re.compile(r'(\w+):(\w+):(\d+)')


def open_image(name: str, field: str, shape: tuple[int, int, int], crop: str | None = None) -> np.ndarray:
    """uint8 ``[H, W, C]`` of the network's shape: the middle square of a picture, resized, antialiased.

    Args:
      name: a file, or ``cifar10:test:17``, an image of a data set by its number.
      field: the config's field, for messages.
      shape: of the network's images.
      crop: of a data set, see ``load``.

    Raises:
      UserError: if there is no such picture, or it has an alpha channel, or is no picture.
    """
    check(bool(name), f'{field} is empty: give it a picture, or an image of a data set as in cifar10:test:17')
    side, _, channels = shape
    known = OF_DATA_SET.fullmatch(name)
    if known:
        dataset, split, number = known.groups()
        pick(dataset, SOURCES, f'{field}: the data set')
        images = load(dataset, split, image_size=side, crop=crop).images
        check(int(number) < len(images), f'{field}={name}: {dataset}:{split} has {len(images):,} images, from 0 on')
        image = images[int(number)]
        check(image.shape[-1] == channels, f'{field}={name} has {image.shape[-1]} channels, and the model {channels}')
        return image
    try:
        data = pathlib.Path(name).read_bytes()
    except OSError as e:
        raise UserError(f'{field}={name} cannot be read ({e.strerror})') from e
    return square(decode(data, f'{field}={name}', 'RGB' if channels == 3 else 'L'), side)


def decode(data: bytes, where: str, mode: str) -> Image.Image:
    """A picture without alpha in PIL's ``mode``; ``where`` it is from is for messages.

    Raises:
      UserError: if it is damaged, no picture, too large, or has an alpha channel.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            check(
                image.width * image.height <= LARGEST,
                f'{where} has {image.width}x{image.height} pixels, and at most {LARGEST:,} are read: make it smaller',
            )
            alpha = 'A' in image.getbands() or 'transparency' in image.info
            check(not alpha, f'{where} has an alpha channel: save it on a background of your choice, without one')
            return image.convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise UserError(f'{where} is not a picture that can be read ({e})') from e


def square(image: Image.Image, side: int) -> np.ndarray:
    """The middle square as uint8 ``[side, side, C]``."""
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    return resize(image, side, (left, top, left + short, top + short))


def open_mask(name: str, field: str, side: int) -> np.ndarray:
    """float32 ``[side, side, 1]``, 1 where a picture of just the network's size is brighter than half: painted anew.

    Raises:
      UserError: if it has another size, or cannot be read.
    """
    try:
        data = pathlib.Path(name).read_bytes()
    except OSError as e:
        raise UserError(f'{field}={name} cannot be read ({e.strerror})') from e
    image = decode(data, f'{field}={name}', 'L')
    check(
        image.size == (side, side),
        f'{field}={name} has {image.width}x{image.height} pixels: a mask has the {side}x{side} of the network, white '
        f'where it is to paint',
    )
    mask = (np.asarray(image, np.float32)[..., None] > 127).astype(np.float32)
    check(bool(mask.any()), f'{field}={name} is black everywhere, so that nothing would be painted')
    return mask
