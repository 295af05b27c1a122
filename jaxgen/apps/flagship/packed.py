"""A data set as a folder of .npz files, for a machine without TFDS."""

from __future__ import annotations

import pathlib

import numpy as np

from jaxgen.data import Dataset
from jaxgen.errors import UserError, check
from jaxgen.io import images
from jaxgen.io.files import replacing_set
from jaxgen.io.tensors import shape_text
from jaxgen.metrics.sets.npz_files import open_npz_files

IMAGES_PER_FILE = 10_000


def pack(dataset: Dataset, folder: pathlib.Path) -> None:
    """Write a data set as .npz files, which ``unpack`` reads, in place of the files of an earlier data set.

    Args:
      dataset: the images and their labels.
      folder: the folder to fill.
    """
    with replacing_set(folder, r'[0-9]{2,}\.npz') as write:
        for number, start in enumerate(range(0, len(dataset.images), IMAGES_PER_FILE)):
            part = slice(start, start + IMAGES_PER_FILE)
            arrays = {'images': dataset.images[part], 'labels': dataset.labels[part]}
            write(f'{number:02}.npz', images.npz(**arrays, class_names=np.array(dataset.class_names)))


def unpack(folder: pathlib.Path, class_names: tuple[str, ...], image_shape: tuple[int, ...]) -> Dataset:
    """Return the data set of a folder that ``pack`` filled.

    Args:
      folder: the folder.
      class_names: the classes of the config.
      image_shape: height, width and channels of the images of the config.

    Raises:
      UserError: if it has no .npz files, other classes, or images of another shape.
    """
    arrays, labels = open_npz_files(folder, '--data', class_names)
    if labels is None:
        raise UserError(f'--data={folder} holds images without labels: write the folder with --pack')
    found, wanted = arrays.shape[1:], tuple(image_shape)
    check(
        found == wanted,
        f'--data={folder} holds images of {shape_text(found)}, and those of the config are {shape_text(wanted)}: write the '
        f'folder with the same --config and --pack',
    )
    return Dataset(arrays, labels.astype(np.int32), class_names)
