"""Sets of images to be judged: a split of a data set, a folder, an ``.npz``; checked, described, read in pieces."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import io
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from jaxgen.data import SOURCES, load
from jaxgen.errors import UserError, check
from jaxgen.io.files import load_npz

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.gif', '.tif', '.tiff', '.ppm', '.pgm')
GREY, COLOUR = ('1', 'L'), ('P', 'PA', 'LA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr')  # PIL's modes of 8 bits
PIECE = 256  # images decoded at once
SUBSET_SEED = 2020  # of torch-fidelity's published check


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images that all have one shape.

    Attributes:
      description: what they are, for the protocol: JSON values; stored images come with a hash of all of them.
      count: how many.
      image_shape: (height, width, channels); channels 1 or 3.
      pieces: an iterator over uint8 ``[n, *image_shape]``, in order; each call begins anew.
      labels: int32 ``[count]``, or None where they are not known.
      class_names: what the labels mean, or empty.
    """

    description: dict[str, Any]
    count: int
    image_shape: tuple[int, int, int]
    pieces: Callable[[], Iterator[np.ndarray]]
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()


def open_set(name: str, field: str, num: int = 0, class_names: tuple[str, ...] = (), **data: Any) -> ImageSet:
    """The set that a config's field names.

    Args:
      name: ``cifar10:test``, a folder of images (all below it, in the order of their paths) or of ``.npz`` files, or an
        ``.npz`` file with ``images`` (or ``arr_0``) uint8 ``[N, H, W, C]`` and perhaps ``labels``, and ``class_names``
        that these count.
      field: the config's field, for messages.
      num: takes so many at random (see ``subset``); 0, or as many as there are, takes all.
      class_names: of the config; what the labels of an ``.npz`` mean that names no classes itself.
      data: ``classes``, ``image_size`` and ``crop`` of a data set, as for ``jaxgen.data.load``.

    Raises:
      UserError: if there is no such set, it is empty, an image is unreadable, of another size or no uint8, or a label
        has no meaning.
    """
    source, _, split = name.partition(':')
    path = pathlib.Path(name).expanduser()
    if source in SOURCES and split:
        return _of_dataset(source, split, num, **data)
    if path.suffix == '.npz':
        return _of_npz(path, field, num, class_names)
    if path.is_dir() and any(path.glob('*.npz')):
        images, labels = open_npz_files(path, field, class_names)
        return _of_arrays(images, labels, num, {'folder': path.name}, class_names)
    if path.is_dir():
        return _of_folder(path, field, num)
    raise UserError(
        f'{field}={name} is neither a folder, nor an .npz file, nor a data set with its split (such as cifar10:test)'
    )


def subset(count: int, num: int) -> np.ndarray:
    """The images taken of ``count``: all in order, or ``num`` of them as torch-fidelity's published check draws them."""
    if not 0 < num < count:
        return np.arange(count)
    return np.random.RandomState(SUBSET_SEED).choice(count, num, replace=False)


def _of_dataset(source: str, split: str, num: int, **data: Any) -> ImageSet:
    dataset = load(source, split, **data)
    description = {'dataset': source, 'split': split, **data}
    return _of_arrays(dataset.images, dataset.labels, num, description, dataset.class_names)


def _of_arrays(
    images: np.ndarray, labels: np.ndarray | None, num: int, description: dict, class_names: tuple[str, ...] = ()
) -> ImageSet:
    chosen = subset(len(images), num)
    description |= {'count': len(chosen), 'of': len(images)}
    images = images[chosen]
    description['sha256'] = hashlib.sha256(memoryview(images).cast('B')).hexdigest()

    def pieces() -> Iterator[np.ndarray]:
        for start in range(0, len(images), PIECE):
            yield images[start : start + PIECE]

    labels = None if labels is None else labels[chosen].astype(np.int32)
    return ImageSet(description, len(images), images.shape[1:], pieces, labels, class_names)


def _of_npz(path: pathlib.Path, field: str, num: int, class_names: tuple[str, ...]) -> ImageSet:
    images, labels = _read_npz(path, field, class_names)
    return _of_arrays(images, labels, num, {'file': path.name}, class_names)


def open_npz_files(
    folder: pathlib.Path, field: str, class_names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the images of all .npz files of a folder, in the order of their names, and their labels if all have some.

    Raises:
      UserError: if there is none, or one is not like the others.
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


def _read_npz(path: pathlib.Path, field: str, class_names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray | None]:
    where = f'{field}={path}'
    try:
        arrays = load_npz(path)
    except FileNotFoundError as e:
        raise UserError(f'{where} is not a file') from e
    except ValueError as e:
        raise UserError(f'{where} is not a whole .npz file of arrays ({e}): write it again') from e
    name = next((n for n in ('images', 'arr_0') if n in arrays), None)
    check(name is not None, f'{where} holds neither images nor arr_0, but {", ".join(arrays) or "nothing"}')
    images = _require_uint8(arrays[name], where)
    labels = arrays.get('labels')
    if labels is not None:
        check(
            labels.shape == images.shape[:1] and np.issubdtype(labels.dtype, np.integer),
            f'{where} has {len(images)} images, but labels {labels.dtype} of shape {labels.shape}',
        )
        if 'class_names' in arrays:
            labels = _renumbered(labels, arrays['class_names'], class_names, where)
        check(
            labels.max() < len(class_names),
            f'{where} has labels up to {labels.max()}, and the data of the config {len(class_names)} classes: choose '
            f'config.data.name and config.data.classes as they were when these images were drawn',
        )
        labels = None if labels.min() < 0 else labels
    return images, labels


def _renumbered(labels: np.ndarray, own: np.ndarray, class_names: tuple[str, ...], where: str) -> np.ndarray:
    """Labels that count ``own`` names as labels that count ``class_names``; negative ones are -1.

    Raises:
      UserError: if one has no name, or another than these.
    """
    check(
        own.ndim == 1 and max(labels.max(), 0) < len(own),
        f'{where} has labels up to {labels.max()}, and class_names of shape {own.shape}: write it again',
    )
    for name in own[np.unique(labels[labels >= 0])].tolist():
        check(
            name in class_names,
            f'{where} has images of {name!r}, which is no class of the data of the config: choose config.data.name and '
            f'config.data.classes so that it is',
        )
    place = np.array([class_names.index(name) if name in class_names else -1 for name in own.tolist()])
    return np.where(labels < 0, -1, place[labels])


def _require_uint8(images: np.ndarray, where: str) -> np.ndarray:
    """``[N, H, W, C]``.

    Raises:
      UserError: if they are something else.
    """
    if images.dtype != np.uint8:
        if not np.issubdtype(images.dtype, np.number):
            raise UserError(f'{where} holds {images.dtype}, not images')
        if not np.isfinite(images).all():
            raise UserError(f'{where} holds values that are not finite: find out where they come from')
        raise UserError(
            f'{where} holds {images.dtype} from {images.min():g} to {images.max():g}, and images are judged as uint8 '
            f'from 0 to 255: round them before they are saved'
        )
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not images.size:
        raise UserError(f'{where} has the shape {images.shape}; images are [N, H, W, 3] or [N, H, W, 1], at least one')
    return images


def _of_folder(folder: pathlib.Path, field: str, num: int) -> ImageSet:
    found = sorted(p for p in folder.rglob('*') if p.suffix.lower() in SUFFIXES and not p.name.startswith('.'))
    check(bool(found), f'{field}={folder} holds no image ({", ".join(SUFFIXES)})')
    files = [found[i] for i in subset(len(found), num)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        sums, sizes, modes = zip(*pool.map(_header, files), strict=True)
    for file, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            raise UserError(
                f'{field}={folder} mixes sizes: {files[0].name} is {sizes[0][0]}x{sizes[0][1]}, {file.name} is '
                f'{size[0]}x{size[1]}; resize them before, in one way'
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
    """SHA-256, size and PIL's mode of an image file."""
    try:
        data = file.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            size, mode = image.size, image.mode
    except (OSError, ValueError, Image.DecompressionBombError) as e:
        raise UserError(f'{file} is not a readable image ({e}): remove it or write it again') from e
    check(mode in GREY + COLOUR, f'{file} has pixels of mode {mode}, and only 8 bits a channel are judged: convert it')
    return hashlib.sha256(data).hexdigest(), size, mode


def _decode(file: pathlib.Path, mode: str) -> np.ndarray:
    try:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert(mode))
    except (OSError, ValueError, SyntaxError) as e:
        raise UserError(f'{file} is not a whole image ({e}): remove it or write it again') from e
    return pixels[..., None] if mode == 'L' else pixels
