"""A data set as a folder of .npz files, for a machine without TFDS."""

from __future__ import annotations

import pathlib

import numpy as np
from etils import epath

from jaxgen.data import Dataset
from jaxgen.errors import UserError
from jaxgen.io import images
from jaxgen.io.files import write_atomically
from jaxgen.metrics.npz_files import open_npz_files

IMAGES_PER_FILE = 10_000


def pack(dataset: Dataset, folder: pathlib.Path) -> None:
    """Write a data set as .npz files, which ``unpack`` reads.

    Args:
      dataset: the images and their labels.
      folder: the folder to fill.
    """
    for number, start in enumerate(range(0, len(dataset.images), IMAGES_PER_FILE)):
        part = slice(start, start + IMAGES_PER_FILE)
        arrays = {'images': dataset.images[part], 'labels': dataset.labels[part]}
        named = images.npz(**arrays, class_names=np.array(dataset.class_names))
        write_atomically(epath.Path(folder) / f'{number:02}.npz', named)


def unpack(folder: pathlib.Path, class_names: tuple[str, ...]) -> Dataset:
    """Return the data set of a folder that ``pack`` filled.

    Args:
      folder: the folder.
      class_names: the classes of the config.

    Raises:
      UserError: if it holds no .npz files, or other classes.
    """
    arrays, labels = open_npz_files(folder, '--data', class_names)
    if labels is None:
        raise UserError(f'--data={folder} holds images without labels: write the folder with --pack')
    return Dataset(arrays, labels.astype(np.int32), class_names)
