"""Read images and their labels from ``.npz`` files.

A file holds ``images``, uint8 ``[N, H, W, C]`` with one or three channels, or ``[N, H, W]``. It may also hold ``labels``,
integers ``[N]``, and the ``class_names`` that they index. The layout of guided-diffusion, ``arr_0`` for images and ``arr_1`` for
labels, is read as well.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8

from jaxgen.errors import UserError, check
from jaxgen.io.files import load_npz
from jaxgen.io.folders import is_hidden

SUFFIX = '.npz'
LAYOUTS = {'images': 'labels', 'arr_0': 'arr_1'}  # name of the array of images -> name of the array of labels


def npz_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return the ``.npz`` files directly in a folder, sorted by name; hidden files are left out."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix.lower() == SUFFIX and not is_hidden(path.name))
    return sorted(path for path in found if path.is_file())


def open_npz_files(
    folder: pathlib.Path, field: str, class_names: Sequence[str] | None = None
) -> tuple[UInt8[np.ndarray, 'n h w c'], Int[np.ndarray, ' n'] | None]:
    """Return the images of all ``.npz`` files of a folder, sorted by file name, and their labels if all files have labels.

    Args:
      folder: the folder of the files.
      field: the option or argument that the folder comes from, for messages.
      class_names: see :func:`read_npz_file`.

    Returns:
      The images, and their labels or None.

    Raises:
      UserError: if there is no such file, or the images of two files differ in shape.
    """
    files = npz_files(folder)
    check(bool(files), f'{field}={folder} holds no .npz files')
    images, labels = zip(*(read_npz_file(file, field, class_names) for file in files), strict=True)
    for file, some in zip(files, images, strict=True):
        check(
            some.shape[1:] == images[0].shape[1:],
            f'{field}={folder} mixes sizes: {files[0].name} has images of {images[0].shape[1:]}, {file.name} of '
            f'{some.shape[1:]}',
        )
    labelled = all(some is not None for some in labels)
    return np.concatenate(images), np.concatenate(labels) if labelled else None


def read_npz_file(
    path: pathlib.Path, field: str, class_names: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the images of a file, and their labels.

    Args:
      path: the file.
      field: the option or argument that the file comes from, for messages.
      class_names: the classes that may occur. Labels index them, unless the file names its own classes. If not set, labels are
        not read.

    Returns:
      The images uint8 ``[N, H, W, C]``, and integer labels ``[N]`` that index ``class_names``, or None.

    Raises:
      UserError: if the file is damaged, holds no such images, or a label has no class.
    """
    where = f'{field}={path}'
    try:
        arrays = load_npz(path)
    except FileNotFoundError as e:
        raise UserError(f'{where} is not a file') from e
    except ValueError as e:
        raise UserError(f'{where} is not a complete .npz file of arrays ({e}): write it again') from e
    name = next((n for n in LAYOUTS if n in arrays), None)
    if name is None:
        raise UserError(f'{where} holds neither images nor arr_0, but {", ".join(arrays) or "nothing"}')
    images = require_images(arrays[name], where)
    labels = arrays.get(LAYOUTS[name])
    if class_names is None or labels is None:
        return images, None
    return images, _read_labels(labels, len(images), arrays.get('class_names'), class_names, where)


def _read_labels(
    labels: np.ndarray, count: int, own: np.ndarray | None, class_names: Sequence[str], where: str
) -> np.ndarray | None:
    """Return labels that index ``class_names``; None if some images have no class.

    Args:
      labels: the labels in the file.
      count: the number of images.
      own: the names that the labels index, or None if they index ``class_names``.
      class_names: the names of the classes.
      where: the file, for messages.
    """
    check(
        labels.shape == (count,) and np.issubdtype(labels.dtype, np.integer),
        f'{where} has {count} images, but labels {labels.dtype} of shape {labels.shape}: labels are integers of shape '
        f'({count},)',
    )
    if own is not None:
        labels = _renumbered(labels, own, class_names, where)
    check(
        labels.max() < len(class_names),
        f'{where} has labels up to {labels.max()}, and the data set has {len(class_names)} classes: choose the data set '
        f'and the classes with which these images were generated',
    )
    return None if labels.min() < 0 else labels


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


def require_images(images: np.ndarray, where: str) -> np.ndarray:
    """Check an array of images and return it as uint8 ``[N, H, W, C]``; ``[N, H, W]`` are grey images.

    Args:
      images: the array to check.
      where: name of the array, for messages.

    Raises:
      UserError: if the array is not uint8, has another shape, or is empty.
    """
    if not np.issubdtype(images.dtype, np.number):
        raise UserError(f'{where} holds {images.dtype} values, which are not images')
    _require_shape(images.shape, where)
    if images.dtype != np.uint8:
        if not np.isfinite(images).all():
            raise UserError(f'{where} holds values that are not finite: check how these images were made')
        raise UserError(
            f'{where} holds {images.dtype} from {images.min():g} to {images.max():g}, and images are evaluated as uint8 '
            f'from 0 to 255: convert them first'
        )
    return images[..., None] if images.ndim == 3 else images


def _require_shape(shape: tuple[int, ...], where: str) -> None:
    found = f'{where} has the shape {shape}'
    if len(shape) == 3 and shape[-1] in (1, 3):  # images one or three pixels wide are less likely than this mistake
        raise UserError(f'{found} of one image: sets are [N, H, W, {shape[-1]}], so add an axis at the front')
    if len(shape) == 4 and shape[-1] not in (1, 3) and shape[1] in (1, 3):
        raise UserError(f'{found}, with its channels first: move them to the end, [N, H, W, {shape[1]}]')
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[-1] not in (1, 3)) or 0 in shape:
        raise UserError(f'{found}; images are [N, H, W, 3] or [N, H, W, 1], at least one')
