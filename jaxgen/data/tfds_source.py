"""TensorFlow Datasets without TensorFlow: read prepared ArrayRecord data in bulk.

TFDS itself downloads and prepares data sets that were not prepared yet, which needs TensorFlow.
"""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from PIL import Image

from jaxgen.data import decoded
from jaxgen.errors import UserError
from jaxgen.io import pictures
from jaxgen.io.download import reachable
from jaxgen.schema import expanded

T = TypeVar('T')

VERSIONS = {'cifar10': '3.0.2', 'stanford_dogs': '0.2.0'}
ARCHIVES = {
    'cifar10': 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
    'stanford_dogs': 'http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar',
}
CHUNK = 512  # records read at once; photographs are large


def data_dir() -> pathlib.Path:
    """Return TFDS's folder: ``TFDS_DATA_DIR``, or ``~/tensorflow_datasets``."""
    return pathlib.Path(expanded(os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'))


def prepared(name: str, split: str) -> pathlib.Path:
    """Return the folder of a prepared data set; TFDS downloads and prepares it first if necessary.

    Raises:
      UserError: if the data set cannot be downloaded, or was prepared in another format than ArrayRecord.
    """
    folder = data_dir() / name / VERSIONS[name]
    if not (folder / 'dataset_info.json').is_file():
        prepare(name, name, folder, ARCHIVES[name])
    if not any(folder.glob(f'{name}-{split}.array_record*')):
        raise UserError(
            f'{folder} holds no ArrayRecord files of {split} ({name}-{split}.array_record-*), the only format that is read '
            f'here: move it away, or point TFDS_DATA_DIR at another folder, and it is prepared again'
        )
    return folder


def read(name: str, split: str, image_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images uint8 ``[N, image_size, image_size, 3]`` and labels int32 ``[N]`` of a split.

    TFDS stores images shuffled. They are returned in the order of their ids, which for CIFAR-10 is the order of the original
    files: image i here is image i of torchvision.

    Args:
      name: a key of ``VERSIONS``.
      split: name of the split.
      image_size: side of the stored images in pixels; they are not resized.

    Raises:
      UserError: as ``prepared`` and ``records`` do.
    """
    folder = prepared(name, split)
    return decoded.cached(folder, split, image_size, lambda: _decode_all(folder, split))


def _decode_all(folder: pathlib.Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    def convert(record: dict) -> tuple[bytes, np.ndarray, int]:
        return record['id'], np.asarray(decode(record)), record['label']

    rows = sorted(records(folder, split, convert), key=lambda row: row[0])
    _, images, labels = zip(*rows, strict=True)
    return np.stack(images), np.array(labels, np.int32)


def records(folder: pathlib.Path, split: str, convert: Callable[[dict], T]) -> list[T]:
    """Apply ``convert`` to every record of a split on all cores, and return the results in order.

    The images in the records are still encoded, so ``convert`` has to call ``decode``.

    Raises:
      UserError: if a record is damaged; the message names the file.
    """
    import tensorflow_datasets as tfds

    converted: list[T] = []
    try:
        builder = tfds.builder_from_directory(folder)
        source = builder.as_data_source(split, decoders={'image': tfds.decode.SkipDecoding()})
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for start in range(0, len(source), CHUNK):
                chunk = source.__getitems__(list(range(start, min(start + CHUNK, len(source)))))
                converted += pool.map(convert, chunk)
    except (RuntimeError, ValueError, KeyError, IndexError, OSError) as e:
        raise UserError(
            f'{folder} holds a damaged record in {_damaged(folder, split)} ({e}): remove the folder, and it is prepared again'
        ) from e
    return converted


def _damaged(folder: pathlib.Path, split: str) -> str:
    """Return the names of the damaged files of a split, or of all its files if none can be found damaged."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    files = sorted(folder.glob(f'*-{split}.array_record*'))
    damaged = []
    for file in files:
        try:
            with ArrayRecordDataSource([str(file)]) as source:
                source.__getitems__(list(range(len(source))))
        except (RuntimeError, ValueError, IndexError, OSError):
            damaged.append(file)
    return ', '.join(file.name for file in damaged or files)


def decode(record: dict) -> Image.Image:
    """Decode the image of a record to RGB as it is stored, since bounding boxes refer to the stored pixels.

    Raises:
      UserError: if it is not a complete image; the message contains the file name that the data set gives it.
    """
    name = record.get('image/filename', record.get('id', b'without a name')).decode()
    return pictures.decode(record['image'], f'image {name}', 3, as_stored=True)


def prepare(name: str, data_set: str, folder: pathlib.Path, url: str | None) -> None:
    """Let TFDS download and prepare a data set.

    Args:
      name: name of the data set as the user wrote it.
      data_set: name of the data set for ``tfds.builder``.
      folder: folder in which TFDS stores the data set.
      url: an address that it is downloaded from; None if unknown.

    Raises:
      UserError: if there is no network or no TensorFlow, before anything is downloaded; or if the download fails.
    """
    how = (
        f'prepare it where there is a network with python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{data_set}', file_format='array_record').download_and_prepare()\" and point TFDS_DATA_DIR at that "
        f'folder, or use configs/ddpm_digits.py, which needs no download'
    )
    if url is not None and not reachable(url):
        raise UserError(f'{name} is not at {folder} and {url} cannot be reached: {how}')
    try:
        import tensorflow  # noqa: F401  TFDS needs it to write a data set, though not to read one
    except ImportError as e:
        raise UserError(
            f'{name} is not at {folder} and preparing it needs tensorflow-cpu: pip install it, or {how}'
        ) from e
    import tensorflow_datasets as tfds

    builder = tfds.builder(data_set, data_dir=data_dir(), file_format='array_record')
    try:
        builder.download_and_prepare()
    except Exception as e:  # TFDS raises its own errors for a wrong checksum, an incomplete archive, a refused download
        raise UserError(f'downloading {name} to {folder} failed ({e}): {how}') from e
