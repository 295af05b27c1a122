"""Sets of images to evaluate: an array, a split of a data set, a folder or an ``.npz`` file; checked and read in pieces."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import io
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Int, Int32, Shaped, UInt8
from PIL import Image

from jaxgen.data import SOURCES, load
from jaxgen.errors import UserError, check
from jaxgen.io.files import load_npz
from jaxgen.types import JsonObject

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.gif', '.tif', '.tiff', '.ppm', '.pgm')
GREY, COLOUR = ('1', 'L'), ('P', 'PA', 'LA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr')  # PIL's modes of 8 bits
PIECE = 256  # images decoded at once
SUBSET_SEED = 2020  # of torch-fidelity's published check


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images that all have one shape.

    Attributes:
      description: what the images are, as JSON values for the protocol; of stored images it contains a hash of all.
      count: number of images.
      image_shape: (height, width, channels) with one or three channels.
      pieces: the function that returns an iterator over uint8 ``[n, *image_shape]``, from the first image on at each call.
      labels: a class for each image, or None if the classes are not known.
      class_names: the names that labels index; empty if they are not known.
    """

    description: JsonObject
    count: int
    image_shape: tuple[int, int, int]
    pieces: Callable[[], Iterator[np.ndarray]]
    labels: Int32[np.ndarray, ' n'] | None = None
    class_names: tuple[str, ...] = ()


def open_set(
    name: str,
    field: str,
    num: int | None = None,
    class_names: Sequence[str] | None = None,
    *,
    classes: Sequence[str] | None = None,
    image_size: int | None = None,
    crop: str | None = None,
) -> ImageSet:
    """Open a set of stored images.

    Args:
      name: a split of a data set such as ``cifar10:test``; a folder with images (in any depth, in the order of their paths)
        or with ``.npz`` files; or an ``.npz`` file. An ``.npz`` file holds ``images`` (or ``arr_0``) uint8 ``[N, H, W, C]``,
        and may hold ``labels`` and the ``class_names`` that they index.
      field: what the caller calls ``name``, for messages.
      num: number of images to take at random (see ``subset``). All if not set.
      class_names: the classes that may occur in an ``.npz`` file. Labels index them, unless the file names its classes
        itself. If not set, the labels of an ``.npz`` file are not read.
      classes: of a data set, as for ``jaxgen.data.load``.
      image_size: of a data set, as for ``jaxgen.data.load``.
      crop: of a data set, as for ``jaxgen.data.load``.

    Raises:
      UserError: if there is no such set, it is empty, an image cannot be read, has another size or is not uint8, or a label
        has no meaning.
    """
    source, _, split = name.partition(':')
    path = pathlib.Path(name).expanduser()
    if source in SOURCES and split:
        dataset = load(source, split, classes=classes, image_size=image_size, crop=crop)
        options = {'classes': tuple(classes or ()), 'image_size': image_size or 0, 'crop': crop or ''}
        description = {'dataset': source, 'split': split, **options}
        return _from_arrays(dataset.images, dataset.labels, num, description, dataset.class_names)
    if path.suffix == '.npz':
        images, labels = _read_npz(path, field, class_names)
        return _from_arrays(images, labels, num, {'file': path.name}, tuple(class_names or ()))
    if path.is_dir() and any(path.glob('*.npz')):
        images, labels = open_npz_files(path, field, class_names)
        return _from_arrays(images, labels, num, {'folder': path.name}, tuple(class_names or ()))
    if path.is_dir():
        return _from_folder(path, field, num)
    raise UserError(
        f'{field}={name} is neither a folder, nor an .npz file, nor a data set with its split (such as cifar10:test)'
    )


def from_array(images: Shaped[np.ndarray, 'n h w *channels'], name: str = 'images', num: int | None = None) -> ImageSet:
    """Return images in memory as a set.

    Args:
      images: one or three channels; ``[N, H, W]`` is taken as ``[N, H, W, 1]``.
      name: what the caller calls the array, for messages.
      num: number of images to take at random (see ``subset``). All if not set.

    Raises:
      UserError: if the array is empty, has another shape or is not uint8.
    """
    return _from_arrays(_require_uint8(np.asarray(images), name), None, num, {'array': name})


def subset(count: int, num: int | None) -> Int[np.ndarray, ' n']:
    """Return the indices of ``num`` of ``count`` images: all in order, or those of torch-fidelity's published check."""
    check(num is None or num > 0, f'num={num} must be at least 1, or None')
    if num is None or num >= count:
        return np.arange(count)
    return np.random.RandomState(SUBSET_SEED).choice(count, num, replace=False)


def _from_arrays(
    images: np.ndarray,
    labels: np.ndarray | None,
    num: int | None,
    description: JsonObject,
    class_names: tuple[str, ...] = (),
) -> ImageSet:
    chosen = subset(len(images), num)
    description = {**description, 'count': len(chosen), 'of': len(images)}
    images = np.ascontiguousarray(images[chosen])
    description['sha256'] = hashlib.sha256(images.data.cast('B')).hexdigest()

    def pieces() -> Iterator[np.ndarray]:
        for start in range(0, len(images), PIECE):
            yield images[start : start + PIECE]

    labels = None if labels is None else labels[chosen].astype(np.int32)
    return ImageSet(description, len(images), images.shape[1:], pieces, labels, class_names)


def open_npz_files(
    folder: pathlib.Path, field: str, class_names: Sequence[str] | None = None
) -> tuple[UInt8[np.ndarray, 'n h w c'], Int[np.ndarray, ' n'] | None]:
    """Return the images of all ``.npz`` files of a folder, in the order of their names, and their labels if all have some.

    Args:
      folder: holds the files.
      field: what the caller calls the folder, for messages.
      class_names: as for :func:`open_set`.

    Returns:
      The images, and their labels or None.

    Raises:
      UserError: if there is no such file, or the images of two files differ in shape.
    """
    files = sorted(folder.glob('*.npz'))
    check(bool(files), f'{field}={folder} holds no .npz files')
    images, labels = zip(*(_read_npz(file, field, class_names) for file in files), strict=True)
    for file, some in zip(files, images, strict=True):
        check(
            some.shape[1:] == images[0].shape[1:],
            f'{field}={folder} mixes sizes: {files[0].name} has images of {images[0].shape[1:]}, {file.name} of '
            f'{some.shape[1:]}',
        )
    labelled = all(some is not None for some in labels)
    return np.concatenate(images), np.concatenate(labels) if labelled else None


def _read_npz(
    path: pathlib.Path, field: str, class_names: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray | None]:
    where = f'{field}={path}'
    try:
        arrays = load_npz(path)
    except FileNotFoundError as e:
        raise UserError(f'{where} is not a file') from e
    except ValueError as e:
        raise UserError(f'{where} is not a complete .npz file of arrays ({e}): write it again') from e
    name = next((n for n in ('images', 'arr_0') if n in arrays), None)
    if name is None:
        raise UserError(f'{where} holds neither images nor arr_0, but {", ".join(arrays) or "nothing"}')
    images = _require_uint8(arrays[name], where)
    labels = arrays.get('labels')
    if class_names is None:
        labels = None
    elif labels is not None:
        check(
            labels.shape == images.shape[:1] and np.issubdtype(labels.dtype, np.integer),
            f'{where} has {len(images)} images, but labels {labels.dtype} of shape {labels.shape}',
        )
        if 'class_names' in arrays:
            labels = _renumbered(labels, arrays['class_names'], class_names, where)
        check(
            labels.max() < len(class_names),
            f'{where} has labels up to {labels.max()}, and the data set has {len(class_names)} classes: choose the data set '
            f'and the classes with which these images were generated',
        )
        labels = None if labels.min() < 0 else labels
    return images, labels


def _renumbered(labels: np.ndarray, own: np.ndarray, class_names: Sequence[str], where: str) -> np.ndarray:
    """Convert labels that index ``own`` names to labels that index ``class_names``; negative labels become -1.

    Raises:
      UserError: if a label has no name, or its name is not one of ``class_names``.
    """
    check(
        own.ndim == 1 and max(labels.max(), 0) < len(own),
        f'{where} has labels up to {labels.max()}, and class_names of shape {own.shape}: write it again',
    )
    for name in own[np.unique(labels[labels >= 0])].tolist():
        check(
            name in class_names,
            f'{where} has images of {name!r}, which is not a class of the data set: choose the data set and the classes with '
            f'which these images were generated',
        )
    position = {name: i for i, name in enumerate(class_names)}
    place = np.array([position.get(name, -1) for name in own.tolist()])
    return np.where(labels < 0, -1, place[labels])


def _require_uint8(images: np.ndarray, where: str) -> np.ndarray:
    """Return the images as ``[N, H, W, C]``.

    Raises:
      UserError: if they are not uint8, have another shape, or there is none.
    """
    if images.dtype != np.uint8:
        if not np.issubdtype(images.dtype, np.number):
            raise UserError(f'{where} holds {images.dtype} and no images')
        if not np.isfinite(images).all():
            raise UserError(f'{where} holds values that are not finite: check how these images were made')
        raise UserError(
            f'{where} holds {images.dtype} from {images.min():g} to {images.max():g}, and images are evaluated as uint8 '
            f'from 0 to 255: convert them first'
        )
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not images.size:
        raise UserError(f'{where} has the shape {images.shape}; images are [N, H, W, 3] or [N, H, W, 1], at least one')
    return images


def _from_folder(folder: pathlib.Path, field: str, num: int | None) -> ImageSet:
    found = sorted(p for p in folder.rglob('*') if p.suffix.lower() in SUFFIXES and not p.name.startswith('.'))
    check(bool(found), f'{field}={folder} holds no image ({", ".join(SUFFIXES)})')
    files = [found[i] for i in subset(len(found), num)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        sums, sizes, modes = zip(*pool.map(_header, files), strict=True)
    for file, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            raise UserError(
                f'{field}={folder} mixes sizes: {files[0].name} is {sizes[0][0]}x{sizes[0][1]}, {file.name} is '
                f'{size[0]}x{size[1]}; resize all in the same way first'
            )
    mode = 'L' if set(modes) <= set(GREY) else 'RGB'

    def pieces() -> Iterator[np.ndarray]:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for start in range(0, len(files), PIECE):
                yield np.stack(list(pool.map(lambda file: _decode(file, mode), files[start : start + PIECE])))

    total = hashlib.sha256(''.join(sums).encode()).hexdigest()
    description = {'folder': folder.name, 'count': len(files), 'of': len(found), 'sha256': total}
    return ImageSet(description, len(files), (sizes[0][1], sizes[0][0], 1 if mode == 'L' else 3), pieces)


def _header(file: pathlib.Path) -> tuple[str, tuple[int, int], str]:
    """Return the SHA-256, the size and PIL's mode of an image file."""
    try:
        data = file.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            size, mode = image.size, image.mode
    except (OSError, ValueError, Image.DecompressionBombError) as e:
        raise UserError(f'{file} is not a readable image ({e}): remove it or write it again') from e
    check(
        mode in GREY + COLOUR,
        f'{file} has pixels of mode {mode}, and only images of 8 bits a channel are evaluated: convert it',
    )
    return hashlib.sha256(data).hexdigest(), size, mode


def _decode(file: pathlib.Path, mode: str) -> np.ndarray:
    """Decode an image file to uint8 ``[H, W, C]``."""
    try:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert(mode))
    except (OSError, ValueError, SyntaxError) as e:
        raise UserError(f'{file} is not a complete image ({e}): remove it or write it again') from e
    return pixels[..., None] if mode == 'L' else pixels
