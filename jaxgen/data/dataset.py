"""The registry of data sets, and loading one as uint8 arrays in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from jaxgen.data import digits, dogs, tfds_source
from jaxgen.data.resize import resize
from jaxgen.errors import pick


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images uint8 ``[N, H, W, C]``, labels int32 ``[N]`` that index ``class_names``."""

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    def relabelled(self, class_names: tuple[str, ...]) -> Dataset:
        """The same with labels that index these names, its own among them."""
        position = np.array([class_names.index(name) for name in self.class_names], np.int32)
        return Dataset(self.images, position[self.labels], class_names)


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set that can be loaded by name.

    Attributes:
      read: ``read(split, image_size, crop) -> (images uint8 [N, image_size, image_size, C], labels int32 [N])``.
      class_names: in the order of the labels.
      splits: the names that ``read`` takes.
      sizes: number of images of each split.
      image_size: side of the images where none is asked for, in pixels.
      channels: 1 or 3.
      crops: ways to make a picture square; the first is the usual one.
    """

    read: Callable[[str, int, str], tuple[np.ndarray, np.ndarray]]
    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    sizes: tuple[int, ...]
    image_size: int
    channels: int
    crops: tuple[str, ...] = ('center',)


def _stored(read: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> Callable:
    """``Source.read`` of a data set of square images that are stored decoded, all of one size."""

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
        _stored(lambda split: tfds_source.read('cifar10', split)),
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


def class_names(name: str, classes: Sequence[str] = ()) -> tuple[str, ...]:
    """What labels mean after ``load`` with the same arguments."""
    return tuple(classes) or SOURCES[name].class_names


def load(
    name: str, split: str, classes: Sequence[str] = (), max_examples: int = 0, image_size: int = 0, crop: str = ''
) -> Dataset:
    """Loads a split into memory.

    Args:
      name: a key of ``SOURCES``.
      split: one of the source's splits.
      classes: names to keep, in this order; labels then count within them. Empty keeps all.
      max_examples: keeps the first so many of what is left; 0 keeps all.
      image_size: side in pixels to resize to (antialiased bicubic); 0 is the source's own.
      crop: one of the source's crops; empty is the first of them.

    Raises:
      UserError: if the data set, the split, a class or a crop does not exist, or the data cannot be had.
    """
    source = SOURCES[pick(name, SOURCES, 'config.data.name')]
    pick(split, source.splits, 'the split')
    kept = [source.class_names.index(pick(c, source.class_names, f'{name} class')) for c in classes]
    crop = pick(crop or source.crops[0], source.crops, f'{name} crop')
    images, labels = source.read(split, image_size or source.image_size, crop)
    labels = labels.astype(np.int32)
    if kept:
        position = np.full(len(source.class_names), -1, np.int32)
        position[kept] = np.arange(len(kept), dtype=np.int32)
        keep = position[labels] >= 0
        images, labels = images[keep], position[labels[keep]]
    if max_examples:
        images, labels = images[:max_examples], labels[:max_examples]
    return Dataset(np.ascontiguousarray(images), labels, class_names(name, classes))
