"""A cache of decoded images: a TFDS data set is decoded once, and loads in a moment afterwards."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Callable

import numpy as np
from absl import logging

from jaxgen.io.files import cache_dir, read_npz, replacing

PREPARATION = 1  # version of the cached images: raise it when decoding, cropping or resizing changes


def cached(
    folder: pathlib.Path,
    split: str,
    image_size: int,
    decode: Callable[[], tuple[np.ndarray, np.ndarray]],
    variant: str = '',
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images uint8 ``[N, image_size, image_size, 3]`` and labels int32 ``[N]`` of a split.

    Args:
      folder: the folder in which TFDS has prepared the data set, ``<name>/<version>``.
      split: name of the split.
      image_size: side of the images in pixels.
      decode: function that returns the images and labels, called if they are not in the cache.
      variant: a name for other settings that the images depend on, such as the crop.

    Raises:
      UserError: if ``decode`` raises one.
    """
    name = '-'.join(
        filter(None, (folder.parent.name, folder.name, _fingerprint(folder, split), split, str(image_size), variant))
    )
    path = cache_dir() / f'{name}-{PREPARATION}.npz'
    arrays = _load(path, image_size)
    if arrays is None:
        arrays = decode()
        try:
            with replacing(path) as temporary:
                np.savez(temporary, images=arrays[0], labels=arrays[1])
        except OSError as e:
            logging.warning(
                '%s cannot be written (%s): the images are decoded again by the next command', path, e.strerror
            )
    return arrays


def _fingerprint(folder: pathlib.Path, split: str) -> str:
    """Return a hash of the data set's description and its files' names, sizes and times, to tell two copies of it apart."""
    found = hashlib.sha256((folder / 'dataset_info.json').read_bytes())
    for file in sorted(folder.glob(f'*-{split}.array_record*')):
        status = file.stat()
        found.update(f'{file.name} {status.st_size} {status.st_mtime_ns}\n'.encode())
    return found.hexdigest()[:12]


def _load(path: pathlib.Path, image_size: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the cached images and labels, or None if the file does not exist or is damaged."""
    arrays = read_npz(path)
    if not arrays or set(arrays) != {'images', 'labels'}:
        return None
    images, labels = arrays['images'], arrays['labels']
    is_valid = images.shape == (len(labels), image_size, image_size, 3) and images.dtype == np.uint8
    return (images, labels) if is_valid else None
