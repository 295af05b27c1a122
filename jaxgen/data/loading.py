"""Load a split of any source, and describe its images without loading them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgen.data.dataset import Dataset
from jaxgen.data.options import DataOptions, SourceOptions, kind_of
from jaxgen.data.prepared import prepared
from jaxgen.data.prepared.store import SPLITS
from jaxgen.data.sources import LARGEST, SOURCES
from jaxgen.errors import check, pick


@dataclasses.dataclass(frozen=True)
class Facts:
    """A description of the images of a source.

    Attributes:
      class_names: the name of each class, in the order of the labels.
      image_size: side of the images in pixels.
      channels: 1 or 3.
      splits: the splits that can be loaded.
    """

    class_names: tuple[str, ...]
    image_size: int
    channels: int
    splits: tuple[str, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.image_size, self.image_size, self.channels


def facts(options: DataOptions) -> Facts:
    """Describe the images of a source without reading them.

    Raises:
      UserError: if the description is known only after the images were prepared, and ``resolved`` was not called.
    """
    options.require_read()
    if kind_of(options.name) is None:
        source = SOURCES[options.name]
        classes = options.classes or source.class_names
        return Facts(classes, options.image_size or source.image_size, source.channels, source.splits)
    known = options.class_names, options.image_size, options.channels
    check(
        None not in known,
        f'name={options.name}: its classes are not known before its images are prepared: name its path, or the config.json of '
        f'a run that was trained on it',
    )
    names, size, channels = known
    return Facts(options.classes or names or (), size or 0, channels or 0, tuple(SPLITS))


def resolved(options: DataOptions) -> DataOptions:
    """Return the options with the image size, channels, classes and fingerprint of their source filled in.

    The images of a source that is not registered are prepared for this, unless the cache has them.

    Raises:
      UserError: as ``load`` does.
    """
    options.require_read()
    if kind_of(options.name) is None or None not in (options.class_names, options.image_size, options.channels):
        return options
    about = prepared(options).about
    return dataclasses.replace(
        options,
        image_size=about['image_size'],
        channels=about['channels'],
        class_names=tuple(about['class_names']),
        fingerprint=about['fingerprint'],
    )


def load(
    name: str,
    split: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    max_examples: int | None = None,
    **options: Any,
) -> Dataset:
    """Load a split of a source of images.

    Args:
      name: a registered data set, such as ``cifar10``, or one with its split, such as ``cifar10:test``; ``folder``, together
        with ``path``; ``hf:OWNER/NAME``; or ``tfds:NAME``.
      split: ``train`` or ``test``; ``train`` if neither this nor ``name`` names one.
      classes: names of the classes to keep; labels then index this list. All classes if not set.
      max_examples: number of examples to keep, the first ones of these classes. All if not set.
      options: fields of ``SourceOptions``: ``image_size``, ``crop``, and for your own images ``path``, ``labels``, ``channels``,
        ``resize``, ``background``, ``test_fraction``, ``max_refused``, ``image_key`` and ``label_key``.

    Returns:
      The images and their labels. Images of ``folder``, ``hf:`` and ``tfds:`` sources are prepared the first time and stored in
      the cache; they are read from there when they are indexed.

    Raises:
      UserError: (a ValueError) if the data set, the split, a class or a crop does not exist, or the data cannot be read,
        downloaded or prepared.

    Example:
      >>> train = load('digits:train', classes=['7', '1'], max_examples=100)
      >>> train.images.shape, train.class_names
      ((100, 8, 8, 1), ('7', '1'))
    """
    name, split = _with_split(name, split)
    check(classes is None or len(classes) > 0, 'classes is empty: name at least one class, or pass None for all')
    check(max_examples is None or max_examples > 0, f'max_examples={max_examples} must be at least 1, or None')
    return load_split(SourceOptions(name=name, **options), split, classes=classes, max_examples=max_examples)


def load_split(
    options: SourceOptions, split: str, *, classes: Sequence[str] | None = None, max_examples: int | None = None
) -> Dataset:
    """Load a split of the source that the options describe; ``load`` explains the other arguments.

    Raises:
      UserError: as ``load`` does, and if the images no longer match ``options.fingerprint``.
    """
    options.require_read()
    if kind_of(options.name) is None:
        dataset = _known_by_name(options, split, classes)
    else:
        store = prepared(options)
        expected = getattr(options, 'fingerprint', None)
        check(
            expected in (None, store.about['fingerprint']),
            f'the images of {options.path or options.name} have changed since this run began: bring the old ones back, or '
            f'train in another run directory',
        )
        dataset = store.split(pick(split, SPLITS, 'the split'))
    if classes:
        names = dataset.class_names
        kept = [names.index(pick(c, names, f'{options.name} class')) for c in classes]
        position = np.full(len(names), -1, np.int32)
        position[kept] = np.arange(len(kept), dtype=np.int32)
        labels = position[dataset.labels]
        dataset = dataclasses.replace(dataset, labels=labels, class_names=tuple(classes)).subset(labels >= 0)
    return dataset if max_examples is None else dataset.subset(slice(max_examples))


def _known_by_name(options: SourceOptions, split: str, classes: Sequence[str] | None) -> Dataset:
    source, name = SOURCES[options.name], options.name
    pick(split, source.splits, 'the split')
    for one in classes or ():
        pick(one, source.class_names, f'{name} class')
    side = options.image_size or source.image_size
    size = dict(zip(source.splits, source.sizes, strict=False)).get(split, 0) * side**2 * source.channels
    check(
        size <= LARGEST,
        f'image_size={side} makes the images of {name}:{split} take {size / 2**30:,.0f} GiB of memory, and at most '
        f'{LARGEST // 2**30} GiB are allowed: choose a smaller image_size',
    )
    images, labels = source.read(split, side, options.crop or source.crops[0])
    return Dataset(np.ascontiguousarray(images), labels.astype(np.int32), source.class_names)


def _with_split(name: str, split: str | None) -> tuple[str, str]:
    """Return the name of the data set without its split, and the split."""
    if kind_of(name) is not None:
        return name, split or 'train'
    name, _, own = name.partition(':')
    check(
        not own or split in (None, own),
        f'the data set is named with the split {own!r}, but split={split!r} is another: pass one of the two',
    )
    return name, own or split or 'train'
