"""TensorFlow Datasets without TensorFlow: prepared ArrayRecord data is read in bulk; absent data is downloaded by TFDS."""

from __future__ import annotations

import concurrent.futures
import io
import os
import pathlib
import threading
import urllib.error
import urllib.request

import numpy as np
from PIL import Image

from jaxgen.errors import UserError

VERSIONS = {'cifar10': '3.0.2'}
ARCHIVES = {'cifar10': 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz'}


def data_dir() -> pathlib.Path:
    """TFDS's folder: ``TFDS_DATA_DIR``, or ``~/tensorflow_datasets``."""
    return pathlib.Path(os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets').expanduser()


def read(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """All images of a split, uint8 ``[N, H, W, 3]``, and their labels, int64 ``[N]``; downloads what is not there.

    Raises:
      UserError: if the data are absent and cannot be downloaded, or are not in ArrayRecord form, or are damaged.
    """
    folder = data_dir() / name / VERSIONS[name]
    if not (folder / 'dataset_info.json').is_file():
        _prepare(name, folder)
    if not any(folder.glob(f'{name}-{split}.array_record*')):
        raise UserError(
            f'{folder} holds no ArrayRecord files of {split} ({name}-{split}.array_record-*), which is the form that can '
            f'be read at random: move it away, or point TFDS_DATA_DIR at another folder, to have it prepared again'
        )
    return _read_prepared(folder, split)


def _read_prepared(folder: pathlib.Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    try:
        source = builder.as_data_source(split, decoders={'image': tfds.decode.SkipDecoding()})
        records = source.__getitems__(list(range(len(source))))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            images = list(pool.map(_decode, (record['image'] for record in records)))
    except (RuntimeError, ValueError, IndexError, OSError) as e:
        files = ', '.join(sorted(f.name for f in folder.glob(f'*-{split}.*')))
        raise UserError(
            f'{folder} holds a damaged record in {files} ({e}): remove the folder, to have it prepared again'
        ) from e
    return np.stack(images), np.array([record['label'] for record in records])


def _decode(encoded: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert('RGB'))


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
    except (OSError, tfds.download.DownloadError) as e:
        raise UserError(f'downloading {name} to {folder} failed ({e}): {how}') from e


def reachable(url: str, timeout: float = 5.0) -> bool:
    """Whether a server answers at ``url`` (through the environment's proxies) within ``timeout`` seconds."""
    answers = []

    def ask():
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method='HEAD'), timeout=timeout):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)
        except OSError:
            answers.append(False)

    asking = threading.Thread(
        target=ask, daemon=True
    )  # a name server that does not answer outlasts any timeout of ours
    asking.start()
    asking.join(timeout)
    return any(answers)
