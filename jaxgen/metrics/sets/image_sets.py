"""Sets of images to evaluate: check and read arrays, splits of data sets, folders and ``.npz`` files."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Int, Int32

from jaxgen.data import SOURCES, Dataset, load
from jaxgen.data.dataset import Images
from jaxgen.errors import UserError, check
from jaxgen.io import pictures
from jaxgen.io.folders import files_below, unread
from jaxgen.metrics.sets import npz_files
from jaxgen.schema import expanded
from jaxgen.types import JsonObject

PIECE = 256  # images decoded at once
SUBSET_SEED = 2020  # the seed of torch-fidelity's published check


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """A set of images that all have the same shape.

    Attributes:
      description: a description of the images with a hash of all of them, as JSON values for the protocol.
      count: number of images.
      image_shape: (height, width, channels) with one or three channels.
      pieces: function that returns a new iterator over all images, in pieces uint8 ``[n, *image_shape]`` of ``PIECE`` images;
        the last may be shorter.
      labels: a class for each image, or None if the classes are not known.
      class_names: the names that labels index; empty if they are not known.
      notes: messages for the user, such as how many files of a folder are not read.
    """

    description: JsonObject
    count: int
    image_shape: tuple[int, int, int]
    pieces: Callable[[], Iterator[np.ndarray]]
    labels: Int32[np.ndarray, ' n'] | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def open_set(
    name: str,
    field: str,
    num: int | None = None,
    class_names: Sequence[str] | None = None,
    *,
    classes: Sequence[str] | None = None,
    image_size: int | None = None,
    crop: str | None = None,
    dataset: Dataset | None = None,
) -> ImageSet:
    """Open a set of stored images.

    Args:
      name: a split of a data set such as ``cifar10:test``; a folder with images (at any depth, sorted by path; see
        ``jaxgen.io.folders`` and ``jaxgen.io.pictures``) or with ``.npz`` files; or an ``.npz`` file (see
        ``jaxgen.metrics.sets.npz_files``).
      field: the option or argument that ``name`` comes from, for messages.
      num: number of images to use, chosen at random (see ``subset``); all if not set.
      class_names: the classes that may occur in an ``.npz`` file. Its labels index them, unless the file names its own
        classes. If not set, the labels of an ``.npz`` file are not read.
      classes: classes of a data set to keep, see ``jaxgen.data.load``.
      image_size: side of the images of a data set in pixels, see ``jaxgen.data.load``.
      crop: crop of the images of a data set, see ``jaxgen.data.load``.
      dataset: the data set that these arguments describe, if it is loaded already.

    Raises:
      UserError: if there is no such set, it is empty, an image cannot be read, has another size or is not uint8, or a label
        has no class.
    """
    source, _, split = name.partition(':')
    path = pathlib.Path(expanded(name))
    if source in SOURCES and split:
        if dataset is None:
            dataset = load(source, split, classes=classes, image_size=image_size, crop=crop)
        chosen = {'classes': tuple(classes or ()), 'image_size': image_size or 0, 'crop': crop or ''}
        description = {'dataset': source, 'split': split, **chosen}
        return _from_arrays(dataset.images, dataset.labels, num, description, dataset.class_names)
    if path.is_dir():
        return _from_npz_folder(path, field, num, class_names) or _from_folder(path, field, num)
    if path.suffix.lower() == npz_files.SUFFIX:
        images, labels = npz_files.read_npz_file(path, field, class_names)
        return _from_arrays(images, labels, num, {'file': path.name}, tuple(class_names or ()))
    raise UserError(
        f'{field}={name} is neither a folder, nor an .npz file, nor a data set with its split (such as cifar10:test)'
    )


def from_dataset(dataset: Dataset, name: str, num: int | None = None) -> ImageSet:
    """Make an image set from a data set; images on disk are read in pieces.

    Args:
      dataset: the images and their labels.
      name: the data set and its split, such as ``folder:test``.
      num: number of images to use, chosen at random (see ``subset``); all if not set.

    Raises:
      UserError: if the data set is empty.
    """
    check(len(dataset.images) > 0, f'{name} holds no image: choose another split, or a larger test_fraction')
    source, _, split = name.rpartition(':')
    description = {'dataset': source, 'split': split, 'image_size': dataset.images.shape[1]}
    return _from_arrays(dataset.images, dataset.labels, num, description, dataset.class_names)


def from_array(images: np.ndarray, name: str = 'images', num: int | None = None) -> ImageSet:
    """Make an image set from an array.

    Args:
      images: uint8 ``[N, H, W, C]`` with one or three channels; ``[N, H, W]`` is taken as ``[N, H, W, 1]``.
      name: name of the array, for messages.
      num: number of images to use, chosen at random (see ``subset``); all if not set.

    Raises:
      UserError: if the array is empty, has another shape or is not uint8.
    """
    return _from_arrays(npz_files.require_images(np.asarray(images), name), None, num, {'array': name})


def subset(count: int, num: int | None) -> Int[np.ndarray, ' n']:
    """Return the indices of ``num`` of ``count`` images: all in order, or the random choice of torch-fidelity."""
    check(num is None or num > 0, f'num={num} must be at least 1, or None')
    if num is None or num >= count:
        return np.arange(count)
    return np.random.RandomState(SUBSET_SEED).choice(count, num, replace=False)


def _from_arrays(
    images: Images,
    labels: np.ndarray | None,
    num: int | None,
    description: JsonObject,
    class_names: tuple[str, ...] = (),
) -> ImageSet:
    chosen = subset(len(images), num)
    description = {**description, 'count': len(chosen), 'of': len(images)}

    def pieces() -> Iterator[np.ndarray]:
        for start in range(0, len(chosen), PIECE):
            yield np.ascontiguousarray(images[chosen[start : start + PIECE]])

    total = hashlib.sha256()
    for piece in pieces():
        total.update(piece.data.cast('B'))
    description['sha256'] = total.hexdigest()
    labels = None if labels is None else labels[chosen].astype(np.int32)
    height, width, channels = images.shape[1:]
    return ImageSet(description, len(chosen), (height, width, channels), pieces, labels, class_names)


def _from_npz_folder(
    folder: pathlib.Path, field: str, num: int | None, class_names: Sequence[str] | None
) -> ImageSet | None:
    """Return the images of the ``.npz`` files of a folder; None if it has none."""
    files = npz_files.npz_files(folder)
    if not files:
        return None
    images, labels = npz_files.open_npz_files(folder, field, class_names)
    found = _from_arrays(images, labels, num, {'folder': folder.name}, tuple(class_names or ()))
    others = sorted(set(files_below(folder)) - set(files))
    return dataclasses.replace(found, notes=unread(others, folder, 'the .npz files directly in it'))


def _from_folder(folder: pathlib.Path, field: str, num: int | None) -> ImageSet:
    """Return the images of a folder, as grey images if none of them has colours."""
    all_files = files_below(folder)
    found = [file for file in all_files if file.suffix.lower() in pictures.SUFFIXES]
    suffixes = ' '.join(pictures.SUFFIXES)
    notes = unread(sorted(set(all_files) - set(found)), folder, f'images ({suffixes})')
    if not found:
        raise UserError(f'{field}={folder} holds no image ({suffixes})' + ''.join(f'; {n}' for n in notes))
    files = [found[i] for i in subset(len(found), num)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        sums, headers = zip(*pool.map(_header, files), strict=True)
    first = headers[0]
    for file, header in zip(files, headers, strict=True):
        if header[:2] != first[:2]:
            raise UserError(
                f'{field}={folder} mixes sizes: {files[0].relative_to(folder)} is {first.width}x{first.height}, '
                f'{file.relative_to(folder)} is {header.width}x{header.height}; resize all in the same way first'
            )
    channels = 1 if all(header.is_grey for header in headers) else 3

    def pieces() -> Iterator[np.ndarray]:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for start in range(0, len(files), PIECE):
                yield np.stack(list(pool.map(lambda file: _decode(file, channels), files[start : start + PIECE])))

    total = hashlib.sha256(''.join(sums).encode()).hexdigest()
    description = {'folder': folder.name, 'count': len(files), 'of': len(found), 'sha256': total}
    return ImageSet(description, len(files), (first.height, first.width, channels), pieces, notes=notes)


def _header(file: pathlib.Path) -> tuple[str, pictures.Header]:
    """Return the SHA-256 and the header of an image file."""
    data = pictures.read_file(file, str(file))
    return hashlib.sha256(data).hexdigest(), pictures.inspect(data, str(file))


def _decode(file: pathlib.Path, channels: int) -> np.ndarray:
    """Decode an image file to uint8 ``[H, W, C]``."""
    image = pictures.decode(pictures.read_file(file, str(file)), str(file), channels)
    return np.asarray(image).reshape(image.height, image.width, channels)
