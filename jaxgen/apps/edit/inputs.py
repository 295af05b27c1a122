"""Read the images and masks of an edit, and bring them to the size of the network."""

from __future__ import annotations

import pathlib
import re

import numpy as np
from PIL import Image

from jaxgen.apps import data
from jaxgen.apps.config import Config
from jaxgen.data import SOURCES, load
from jaxgen.data.options import kind_of
from jaxgen.data.resize import resize
from jaxgen.errors import UserError, check, pick
from jaxgen.io import pictures

IMAGE_OF_DATA_SET = re.compile(r'(\w+|hf:.+|tfds:.+):(\w+):([0-9]{1,18})')


def open_image(name: str | None, field: str, shape: tuple[int, int, int], config: Config) -> np.ndarray:
    """Read an image, and resize its middle square to the size of a network, with antialiasing.

    Args:
      name: a file, or an image of a data set by its number, as in ``cifar10:test:17``.
      field: the field of the config that names the image, for messages.
      shape: height, width and channels of the network's images.
      config: the config of the model, which decides how images of a data set are made square.

    Returns:
      uint8 ``[H, W, C]``.

    Raises:
      UserError: if there is no such image, or ``jaxgen.io.pictures`` refuses it.
    """
    if name is None:
        raise UserError(f'{field} is not set: name an image file, or an image of a data set, as in cifar10:test:17')
    numbered = IMAGE_OF_DATA_SET.fullmatch(name)
    if numbered:
        return _image_of_data_set(numbered, field, shape, config)
    side, _, channels = shape
    return middle_square(_decode(name, field, channels), side)


def middle_square(image: Image.Image, side: int) -> np.ndarray:
    """Return the middle square of an image, resized to uint8 ``[side, side, C]``."""
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    return resize(image, side, (left, top, left + short, top + short))


def open_mask(name: str | None, field: str, side: int) -> np.ndarray:
    """Read a mask: an image of exactly the network's size, in which the model paints wherever a pixel is brighter than half.

    Args:
      name: the file.
      field: the field of the config that names the file, for messages.
      side: side of the network's images in pixels.

    Returns:
      float32 ``[side, side, 1]``, 1 where the model paints and 0 elsewhere.

    Raises:
      UserError: if there is no mask, or it has another size, is black everywhere, or cannot be read.
    """
    if name is None:
        raise UserError(f'{field} is not set: name an image of the size of the model, white where the model paints')
    image = _decode(name, field, 1)
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


def _image_of_data_set(numbered: re.Match[str], field: str, shape: tuple[int, int, int], config: Config) -> np.ndarray:
    (dataset, split, number), (side, _, channels) = numbered.groups(), shape
    name = numbered.string
    if data.is_split(config, f'{dataset}:{split}'):
        images = data.load_split(config, split, classes=config.data.class_names).images
    else:
        pick(dataset, SOURCES, f'{field}: the data set')
        crop = config.data.crop if kind_of(config.data.name) is None else None
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


def _decode(name: str, field: str, channels: int) -> Image.Image:
    where = f'{field}={name}'
    return pictures.decode(pictures.read_file(pathlib.Path(name), where), where, channels)
