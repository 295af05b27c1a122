"""The registry of data sets that are loaded by name, and the three data sets that come with jaxgen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image

from jaxgen.data import digits, dogs, tfds_source
from jaxgen.data.resize import resize

LARGEST = 2**36  # largest size in bytes of images that are kept in memory at once: 64 GiB


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set that can be loaded by name.

    Attributes:
      read: the function ``read(split, image_size, crop) -> (images, labels)`` with images uint8
        ``[N, image_size, image_size, C]`` and labels int32 ``[N]``.
      class_names: the name of each class, in the order of the labels.
      splits: the splits that ``read`` accepts.
      sizes: the number of images in each split.
      image_size: default side of the images in pixels.
      channels: 1 or 3.
      crops: ways to crop a square from an image; the first is the default.

    Example:
      >>> import numpy as np, jaxgen
      >>> def read(split, image_size, crop):
      ...     return np.zeros((4, image_size, image_size, 1), np.uint8), np.zeros(4, np.int32)
      >>> source = jaxgen.data.Source(read, ('black',), ('train',), (4,), image_size=8, channels=1)
      >>> jaxgen.register('data', 'black')(source) is source
      True
      >>> jaxgen.data.load('black:train').images.shape
      (4, 8, 8, 1)
      >>> del jaxgen.data.SOURCES['black']  # so that the name is free again
    """

    read: Callable[[str, int, str], tuple[np.ndarray, np.ndarray]]
    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    sizes: tuple[int, ...]
    image_size: int
    channels: int
    crops: tuple[str, ...] = ('center',)


def _stored(read: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> Callable:
    """Return the ``Source.read`` of a data set whose images are stored decoded, square and of one size."""

    def sized(split: str, image_size: int, crop: str) -> tuple[np.ndarray, np.ndarray]:
        images, labels = read(split)
        if image_size != images.shape[1]:
            grey = images.shape[-1] == 1
            images = np.stack([resize(Image.fromarray(x[..., 0] if grey else x), image_size) for x in images])
        return images, labels

    return sized


CIFAR10_CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')

SOURCES: dict[str, Source] = {
    'digits': Source(
        _stored(digits.read), tuple('0123456789'), ('train', 'test'), (1437, 360), image_size=8, channels=1
    ),
    'cifar10': Source(
        _stored(lambda split: tfds_source.read('cifar10', split, 32)),
        CIFAR10_CLASSES,
        ('train', 'test'),
        (50000, 10000),
        image_size=32,
        channels=3,
    ),
    'stanford_dogs': Source(
        dogs.read, dogs.BREEDS, ('train', 'test'), (12000, 8580), image_size=64, channels=3, crops=dogs.CROPS
    ),
}
