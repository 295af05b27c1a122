"""TensorFlow Datasets without TensorFlow: prepared ArrayRecord data is read in bulk; absent data is downloaded by TFDS."""

from __future__ import annotations

import concurrent.futures
import io
import os
import pathlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from PIL import Image

from jaxgen.errors import UserError
from jaxgen.io.download import reachable

T = TypeVar('T')

VERSIONS = {'cifar10': '3.0.2', 'stanford_dogs': '0.2.0'}
ARCHIVES = {
    'cifar10': 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
    'stanford_dogs': 'http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar',
}
CHUNK = 512  # records read at once: photographs are large


def data_dir() -> pathlib.Path:
    """TFDS's folder: ``TFDS_DATA_DIR``, or ``~/tensorflow_datasets``."""
    return pathlib.Path(os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets').expanduser()


def prepared(name: str, split: str) -> pathlib.Path:
    """The folder of a data set that TFDS has prepared; has it download and prepare what is not there.

    Raises:
      UserError: if the data are absent and cannot be downloaded, or are not in ArrayRecord form.
    """
    folder = data_dir() / name / VERSIONS[name]
    if not (folder / 'dataset_info.json').is_file():
        _prepare(name, folder)
    if not any(folder.glob(f'{name}-{split}.array_record*')):
        raise UserError(
            f'{folder} holds no ArrayRecord files of {split} ({name}-{split}.array_record-*), which is the form that can '
            f'be read at random: move it away, or point TFDS_DATA_DIR at another folder, to have it prepared again'
        )
    return folder


def read(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """All images of a split of one size, uint8 ``[N, H, W, 3]``, and their labels, int32 ``[N]``.

    TFDS stores them shuffled; here they come in the order of their ids, which for CIFAR-10 is that of the original
    files: image i is the one that torchvision calls i.

    Raises:
      UserError: as ``prepared`` and ``records``.
    """

    def convert(record: dict) -> tuple[bytes, np.ndarray, int]:
        return record['id'], np.asarray(decode(record)), record['label']

    rows = sorted(records(prepared(name, split), split, convert), key=lambda row: row[0])
    _, images, labels = zip(*rows, strict=True)
    return np.stack(images), np.array(labels, np.int32)


def records(folder: pathlib.Path, split: str, convert: Callable[[dict], T]) -> list[T]:
    """``convert(record)`` of every record of a split, in order, in all cores; images come undecoded (see ``decode``).

    Raises:
      UserError: naming the file, if a record is damaged.
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
            f'{folder} holds a damaged record in {_damaged(folder, split)} ({e}): remove the folder, to have it prepared again'
        ) from e
    return converted


def _damaged(folder: pathlib.Path, split: str) -> str:
    """The files of a split that cannot be read to their end; all of them where the damage lies elsewhere."""
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
    """A record's image in RGB: some files have an alpha channel, a palette or grey alone.

    Raises:
      ValueError: naming the file as the data set knows it, if it is no image, or half of one.
    """
    try:
        with Image.open(io.BytesIO(record['image'])) as image:
            return image.convert('RGB')
    except OSError as e:
        name = record.get('image/filename', record.get('id', b'without a name')).decode()
        raise ValueError(f'image {name}: {e}') from e


def _prepare(name: str, folder: pathlib.Path) -> None:
    """Has TFDS download and prepare a data set; says so at once where there is no network or no TensorFlow."""
    how = (
        f'prepare it where there is a network with python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}', file_format='array_record').download_and_prepare()\" and point TFDS_DATA_DIR at that "
        f'folder, or use configs/ddpm_digits.py, which needs no download'
    )
    if not reachable(ARCHIVES[name]):
        raise UserError(f'{name} is not at {folder} and {ARCHIVES[name]} cannot be reached: {how}')
    try:
        import tensorflow  # noqa: F401  TFDS needs it to write a data set, not to read one
    except ImportError as e:
        raise UserError(
            f'{name} is not at {folder} and preparing it needs tensorflow-cpu: pip install it, or {how}'
        ) from e
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir(), file_format='array_record')
    try:
        builder.download_and_prepare()
    except Exception as e:  # TFDS has errors of its own for a wrong checksum, an archive cut off, a refused download
        raise UserError(f'downloading {name} to {folder} failed ({e}): {how}') from e
