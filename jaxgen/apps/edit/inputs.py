"""The images and masks that an edit starts from, as the network sees them."""

from __future__ import annotations

import io
import pathlib
import re

import numpy as np
from PIL import Image

from jaxgen.data import SOURCES, load
from jaxgen.data.resize import resize
from jaxgen.errors import UserError, check, pick

MAX_PIXELS = 50_000_000  # a larger image is a mistake, or an attempt to exhaust the memory
IMAGE_OF_DATA_SET = re.compile(r'(\w+):(\w+):(\d+)')


def open_image(name: str | None, field: str, shape: tuple[int, int, int], crop: str | None = None) -> np.ndarray:
    """Read an image and bring it to the size of a network: its middle square, resized with antialiasing.

    Args:
      name: a file, or an image of a data set by its number, as in ``cifar10:test:17``.
      field: the field of the config that names the image, for messages.
      shape: height, width and channels of the network's images.
      crop: how images of a data set are made square, see ``jaxgen.data.load``.

    Returns:
      uint8 ``[H, W, C]``.

    Raises:
      UserError: if there is no such image, it has an alpha channel, or it cannot be decoded.
    """
    if name is None:
        raise UserError(f'{field} is not set: name an image file, or an image of a data set, as in cifar10:test:17')
    numbered = IMAGE_OF_DATA_SET.fullmatch(name)
    if numbered:
        return _image_of_data_set(numbered, field, shape, crop)
    side, _, channels = shape
    return middle_square(decode(_read(name, field), f'{field}={name}', 'RGB' if channels == 3 else 'L'), side)


def decode(data: bytes, where: str, mode: str) -> Image.Image:
    """Decode an image that has no alpha channel.

    Args:
      data: the bytes of the file.
      where: where the image comes from, for messages.
      mode: the mode of Pillow to convert to, such as ``RGB`` or ``L``.

    Raises:
      UserError: if the file is damaged, no image, too large, or has an alpha channel.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            check(
                image.width * image.height <= MAX_PIXELS,
                f'{where} has {image.width}x{image.height} pixels, but at most {MAX_PIXELS:,} are read: make it smaller',
            )
            alpha = 'A' in image.getbands() or 'transparency' in image.info
            check(not alpha, f'{where} has an alpha channel: save it without one, on a background of your choice')
            return image.convert(mode)
    except UserError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise UserError(f'{where} is not an image that can be read ({e}): save it as PNG, JPEG or WebP') from e


def middle_square(image: Image.Image, side: int) -> np.ndarray:
    """Return the middle square of an image, resized to uint8 ``[side, side, C]``."""
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    return resize(image, side, (left, top, left + short, top + short))


def open_mask(name: str | None, field: str, side: int) -> np.ndarray:
    """Read a mask, an image of exactly the network's size that is brighter than half where the model paints.

    Args:
      name: the file.
      field: the field of the config that names it, for messages.
      side: side of the network's images in pixels.

    Returns:
      float32 ``[side, side, 1]``, 1 where the model paints and 0 elsewhere.

    Raises:
      UserError: if there is no mask, or it has another size, is black everywhere, or cannot be read.
    """
    if name is None:
        raise UserError(f'{field} is not set: name an image of the size of the model, white where the model paints')
    image = decode(_read(name, field), f'{field}={name}', 'L')
    check(
        image.size == (side, side),
        f'{field}={name} has {image.width}x{image.height} pixels, but a mask needs the {side}x{side} of the network, white '
        f'where the model paints',
    )
    mask = (np.asarray(image, np.float32)[..., None] > 127).astype(np.float32)
    check(
        bool(mask.any()), f'{field}={name} is black everywhere, so nothing would be painted: paint a part of it white'
    )
    return mask


def _image_of_data_set(
    numbered: re.Match[str], field: str, shape: tuple[int, int, int], crop: str | None
) -> np.ndarray:
    (dataset, split, number), (side, _, channels) = numbered.groups(), shape
    name = numbered.string
    pick(dataset, SOURCES, f'{field}: the data set')
    images = load(dataset, split, image_size=side, crop=crop).images
    check(
        int(number) < len(images),
        f'{field}={name} does not exist: {dataset}:{split} has {len(images):,} images, numbered from 0',
    )
    image = images[int(number)]
    check(
        image.shape[-1] == channels,
        f'{field}={name} has {image.shape[-1]} channels, but the model has {channels}: choose another data set',
    )
    return image


def _read(name: str, field: str) -> bytes:
    try:
        return pathlib.Path(name).read_bytes()
    except OSError as e:
        raise UserError(f'{field}={name} cannot be read ({e.strerror}): name an existing file') from e
