"""The registry of data sets, and loading one as uint8 arrays in memory."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from jaxgen.data import digits, tfds_source
from jaxgen.errors import UserError


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images uint8 ``[N, H, W, C]``, labels int32 ``[N]`` that index ``class_names``."""

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set that can be loaded by name.

    Attributes:
      read: ``read(split) -> (images uint8 [N, H, W, C], labels [N])``.
      class_names: in the order of the labels.
      splits: the names that ``read`` takes.
      image_size: side of the stored images, in pixels.
      channels: 1 or 3.
      sizes: number of images of each split.
    """

    read: Callable[[str], tuple[np.ndarray, np.ndarray]]
    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    sizes: tuple[int, ...]
    image_size: int
    channels: int


CIFAR10_CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')

SOURCES: dict[str, Source] = {
    'digits': Source(digits.read, tuple('0123456789'), ('train', 'test'), (1437, 360), image_size=8, channels=1),
    'cifar10': Source(
        lambda split: tfds_source.read('cifar10', split),
        CIFAR10_CLASSES,
        ('train', 'test'),
        (50000, 10000),
        image_size=32,
        channels=3,
    ),
}


def load(name: str, split: str, classes: Sequence[str] = (), max_examples: int = 0, image_size: int = 0) -> Dataset:
    """Loads a split into memory.

    Args:
      name: a key of ``SOURCES``.
      split: one of the source's splits.
      classes: names to keep, in this order; labels then count within them. Empty keeps all.
      max_examples: keeps the first so many of what is left; 0 keeps all.
      image_size: side in pixels to resize to (antialiased bicubic); 0 keeps the stored size.

    Raises:
      UserError: if the data set, the split or a class does not exist, or the data cannot be had.
    """
    source = SOURCES[pick(name, SOURCES, 'config.data.name')]
    pick(split, source.splits, 'the split')
    kept = [source.class_names.index(pick(c, source.class_names, f'{name} class')) for c in classes]
    images, labels = source.read(split)
    labels = labels.astype(np.int32)
    if kept:
        position = np.full(len(source.class_names), -1, np.int32)
        position[kept] = np.arange(len(kept), dtype=np.int32)
        keep = position[labels] >= 0
        images, labels = images[keep], position[labels[keep]]
    if max_examples:
        images, labels = images[:max_examples], labels[:max_examples]
    if image_size not in (0, images.shape[1]):
        images = np.stack([_resize(image, image_size) for image in images])
    return Dataset(np.ascontiguousarray(images), labels, tuple(classes) or source.class_names)


def pick(name: str, known, what: str) -> str:
    """``name`` if it is among the ``known`` names.

    Raises:
      UserError: if not; the sentence lists the nearest names, or all where none is near.
    """
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=3) or sorted(known)
    raise UserError(f'{what} {name!r} does not exist; did you mean {" or ".join(near)}?')


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    channels = image.shape[-1]
    pil = Image.fromarray(image[..., 0] if channels == 1 else image)
    return np.asarray(pil.resize((size, size), Image.Resampling.BICUBIC)).reshape(size, size, channels)
