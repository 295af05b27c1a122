"""The registry of data sets, and loading one of them into memory as uint8 arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from jaxgen.data import digits, dogs, tfds_source
from jaxgen.data.resize import resize
from jaxgen.errors import check, pick

LARGEST = 2**36  # bytes of images that are kept in memory at once: 64 GiB


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images with class labels.

    Attributes:
      images: uint8 ``[N, H, W, C]``.
      labels: int32 ``[N]``, indices into ``class_names``.
      class_names: the name of each class.

    Example:
      >>> import numpy as np, jaxgen
      >>> images, labels = np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1], np.int32)
      >>> jaxgen.data.Dataset(images, labels, ('cat', 'dog')).relabelled(('dog', 'cat')).labels.tolist()
      [1, 0]
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    def relabelled(self, class_names: tuple[str, ...]) -> Dataset:
        """Return the same images with labels that index other class names, which must include this data set's own."""
        position = np.array([class_names.index(name) for name in self.class_names], np.int32)
        return Dataset(self.images, position[self.labels], class_names)


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set that can be loaded by name.

    Attributes:
      read: the function ``read(split, image_size, crop) -> (images, labels)`` with images uint8
        ``[N, image_size, image_size, C]`` and labels int32 ``[N]``.
      class_names: the name of each class, in the order of the labels.
      splits: the splits that ``read`` knows.
      sizes: the number of images in each split.
      image_size: side of the images in pixels, if the caller asks for no other.
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


def class_names(name: str, classes: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the names that the labels of ``load(name, classes=classes)`` index.

    Args:
      name: a key of ``SOURCES``.
      classes: names of the classes to keep. All classes if not set.

    Returns:
      The name of each class.

    Example:
      >>> class_names('digits', ['7', '1'])
      ('7', '1')
    """
    return tuple(classes or SOURCES[name].class_names)


def load(
    name: str,
    split: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    max_examples: int | None = None,
    image_size: int | None = None,
    crop: str | None = None,
) -> Dataset:
    """Load a split of a data set into memory.

    Args:
      name: a key of ``SOURCES``, such as ``cifar10``, or a data set with its split, such as ``cifar10:test``.
      split: one of the source's splits; ``train`` if neither this nor ``name`` names one.
      classes: names of the classes to keep; labels then index this list. All classes if not set.
      max_examples: number of examples to keep, the first ones of these classes. All if not set.
      image_size: side in pixels to which images are resized (bicubic with antialiasing). The source's own size if not set.
      crop: one of the source's ways to crop a square from an image. The source's first way if not set.

    Returns:
      The images and their labels.

    Raises:
      UserError: if the data set, the split, a class or a crop does not exist, or the data cannot be read or downloaded.

    Example:
      >>> train = load('digits:train', classes=['7', '1'], max_examples=100)
      >>> train.images.shape, train.class_names
      ((100, 8, 8, 1), ('7', '1'))
    """
    name, split = _with_split(name, split)
    source = SOURCES[name]
    check(classes is None or len(classes) > 0, 'classes is empty: name at least one class, or pass None for all')
    kept = [source.class_names.index(pick(c, source.class_names, f'{name} class')) for c in classes or ()]
    for argument, value in (('max_examples', max_examples), ('image_size', image_size)):
        check(value is None or value > 0, f'{argument}={value} must be at least 1, or None')
    crop = pick(source.crops[0] if crop is None else crop, source.crops, f'{name} crop')

    side = image_size or source.image_size
    size = dict(zip(source.splits, source.sizes, strict=False)).get(split, 0) * side**2 * source.channels
    check(
        size <= LARGEST,
        f'image_size={side} makes the images of {name}:{split} {size / 2**30:,.0f} GiB large, and they are kept in memory, at '
        f'most {LARGEST // 2**30} GiB: choose a smaller one',
    )
    images, labels = source.read(split, side, crop)
    labels = labels.astype(np.int32)
    if kept:
        position = np.full(len(source.class_names), -1, np.int32)
        position[kept] = np.arange(len(kept), dtype=np.int32)
        keep = position[labels] >= 0
        images, labels = images[keep], position[labels[keep]]
    images, labels = images[:max_examples], labels[:max_examples]
    return Dataset(np.ascontiguousarray(images), labels, class_names(name, classes))


def _with_split(name: str, split: str | None) -> tuple[str, str]:
    """Return the data set and the split that ``load`` was asked for."""
    name, _, own = name.partition(':')
    check(
        not own or split in (None, own),
        f'the data set is named with the split {own!r}, but split={split!r} is another: pass one of the two',
    )
    splits = SOURCES[pick(name, SOURCES, 'the data set')].splits
    return name, pick(own or split or 'train', splits, 'the split')
