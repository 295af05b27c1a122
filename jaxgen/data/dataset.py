"""Images with class labels, in memory or in a file."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from jaxgen.errors import check

Index = int | slice | Sequence[int] | np.ndarray
UNLABELLED = ('image',)  # all images without labels belong to this one class


@runtime_checkable
class Images(Protocol):
    """A sequence of images that is indexed like a NumPy array, uint8 ``[N, H, W, C]``."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape ``(N, H, W, C)``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Index, /) -> np.ndarray: ...


class ImagesOnDisk:
    """A sequence of images in an ``.npy`` file, read when it is indexed: ``images[i]``, ``images[a:b]``, ``images[indices]``.

    The file stays open, so it may be replaced on disk in the meantime. It is not mapped into memory: the operating system would
    read the neighbours of each image too, and everything that was read would count as memory of the process.

    Args:
      file: the ``.npy`` file, uint8 ``[M, length, size, C]``: square images, or strips from which squares are cropped.
      rows: the rows of the file that hold the images, int64 ``[N]``; all rows if not set.
      lengths: the length of each strip, int ``[N]``; None for square images.
      is_wide: whether each strip was transposed, bool ``[N]``.
    """

    def __init__(
        self,
        file: pathlib.Path,
        rows: np.ndarray | None = None,
        lengths: np.ndarray | None = None,
        is_wide: np.ndarray | None = None,
    ):
        mapped = np.load(file, mmap_mode='r')
        self._offset, self._stored = mapped.offset, mapped.shape
        self._file = open(file, 'rb')  # noqa: SIM115  it stays open as long as the images exist
        self._rows = np.arange(len(mapped)) if rows is None else rows
        self._lengths, self._is_wide = lengths, is_wide
        size, channels = mapped.shape[2:]
        self.shape = (len(self._rows), size, size, channels)
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Index, /) -> np.ndarray:
        return self._read(index, 0.5)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    @property
    def are_strips(self) -> bool:
        """Whether the images are squares that are cropped from longer strips."""
        return self._lengths is not None

    def subset(self, index: Index) -> ImagesOnDisk:
        """Return the images at ``index`` without reading them."""
        chosen = object.__new__(ImagesOnDisk)
        chosen.__dict__.update(self.__dict__)
        chosen._rows = self._rows[index]
        chosen.shape = (len(chosen._rows), *self.shape[1:])
        if self._lengths is not None and self._is_wide is not None:
            chosen._lengths, chosen._is_wide = self._lengths[index], self._is_wide[index]
        return chosen

    def cropped(self, index: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Return images that are cropped at given places of their strips instead of the middle.

        Args:
          index: the indices of the images, int ``[B]``.
          place: the position of the square in each strip, from 0 (left or upper end) to 1 (right or lower end), float ``[B]``.
        """
        return self._read(index, place)

    def _read(self, index: Index, place: float | np.ndarray) -> np.ndarray:
        rows = self._rows[index]
        if np.ndim(rows) == 0:
            return self._read(np.array([index]), place)[0]
        squares = np.empty((len(rows), *self.shape[1:]), np.uint8)
        starts = np.zeros(len(rows), int)
        if self._lengths is not None:
            last = self._lengths[index] - self.shape[1]
            starts = np.minimum((last + 1) * np.asarray(place), last).astype(
                int
            )  # a uniform place gives a uniform start
        length, *line = self._stored[1:]
        offsets = self._offset + (rows * length + starts) * int(np.prod(line))
        for square, offset in zip(squares, offsets.tolist(), strict=True):
            if os.preadv(self._file.fileno(), [square], offset) < square.nbytes:
                raise OSError(f'{self._file.name} ends too early: remove its folder, and it is prepared again')
        if self._is_wide is not None:
            wide = self._is_wide[index]
            squares[wide] = squares[wide].swapaxes(1, 2)
        return squares


@dataclasses.dataclass(frozen=True)
class Origin:
    """A record of where prepared images come from.

    Attributes:
      folder: the folder of the cache that holds the prepared images.
      fingerprint: hash of the original files and labels of all splits.
      sizes: width and height of each original image in pixels, int ``[N, 2]``.
      refused: the name of each file that cannot be used, in any split, with the reason.
      notes: messages that are shown to the user.
    """

    folder: pathlib.Path
    fingerprint: str
    sizes: np.ndarray
    refused: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A set of images with class labels.

    Attributes:
      images: uint8 ``[N, H, W, C]``: an array, or an object that reads such arrays from a file when it is indexed.
      labels: int32 ``[N]``, indices into ``class_names``.
      class_names: the name of each class.
      origin: where the images come from, if they were prepared in the cache.

    Example:
      >>> import numpy as np, jaxgen
      >>> images, labels = np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1], np.int32)
      >>> jaxgen.data.Dataset(images, labels, ('cat', 'dog')).relabelled(('dog', 'cat')).labels.tolist()
      [1, 0]
    """

    images: Images
    labels: np.ndarray
    class_names: tuple[str, ...]
    origin: Origin | None = None

    def relabelled(self, class_names: tuple[str, ...]) -> Dataset:
        """Return the same images with labels that index other class names, which must include this data set's own."""
        position = np.array([class_names.index(name) for name in self.class_names], np.int32)
        return dataclasses.replace(self, labels=position[self.labels], class_names=class_names)

    def subset(self, index: Index) -> Dataset:
        """Return the images at ``index``, which is a slice, a mask, or an array of indices."""
        images = self.images.subset(index) if isinstance(self.images, ImagesOnDisk) else self.images[index]
        origin = self.origin and dataclasses.replace(self.origin, sizes=self.origin.sizes[index])
        return dataclasses.replace(self, images=images, labels=self.labels[index], origin=origin)


def from_arrays(
    images: np.ndarray, labels: Sequence[int] | np.ndarray | None = None, class_names: Sequence[str] | None = None
) -> Dataset:
    """Make a data set from arrays of images and labels.

    Args:
      images: uint8 ``[N, S, S, C]`` with one or three channels; ``[N, S, S]`` is taken as ``[N, S, S, 1]``.
      labels: the class of each image, whole numbers from 0; all images are of one class if not set.
      class_names: the name of each class; the class numbers if not set.

    Returns:
      The images with their labels. The images are not copied.

    Raises:
      UserError: (a ValueError) if the arrays do not have these shapes and types, or a label has no name.

    Example:
      >>> import numpy as np, jaxgen
      >>> images = np.zeros((4, 32, 32, 3), np.uint8)
      >>> jaxgen.data.from_arrays(images, [0, 1, 1, 0], ['cat', 'dog']).class_names
      ('cat', 'dog')
    """
    images = np.asarray(images)
    images = images[..., None] if images.ndim == 3 else images
    check(
        images.ndim == 4 and images.shape[1] == images.shape[2] and images.shape[3] in (1, 3) and images.size > 0,
        f'images has the shape {images.shape}, but must be [N, S, S, C]: square images with one or three channels',
    )
    check(images.dtype == np.uint8, f'images is of {images.dtype}, but must be uint8, from 0 to 255')
    if labels is None:
        check(class_names is None, 'class_names is given without labels: pass both, or neither')
        return Dataset(images, np.zeros(len(images), np.int32), UNLABELLED)
    labels = np.asarray(labels)
    check(
        labels.shape == images.shape[:1] and np.issubdtype(labels.dtype, np.integer),
        f'labels must be {len(images)} whole numbers, one for each image, but is {labels.dtype} {list(labels.shape)}',
    )
    check(int(labels.min()) >= 0, f'labels has the value {labels.min()}: classes are numbered from 0')
    count = int(labels.max()) + 1
    named = tuple(map(str, range(count))) if class_names is None else tuple(class_names)
    check(count <= len(named), f'labels has the value {count - 1}, but class_names names {len(named)} classes, from 0')
    check(len(set(named)) == len(named), 'class_names names a class twice')
    return Dataset(images, labels.astype(np.int32), named)
