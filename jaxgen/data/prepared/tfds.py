"""List the images of a data set of TensorFlow Datasets."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from jaxgen.data import tfds_source
from jaxgen.data.dataset import UNLABELLED
from jaxgen.data.options import TFDS, SourceOptions
from jaxgen.data.prepared.listing import BY_HASH, TEST, TRAIN, Listing, Records
from jaxgen.errors import UserError, check, pick, reason

TEST_SPLITS = ('test', 'validation')  # the first that exists is the test split
CHUNK = 4096  # records read at once for their labels


@dataclasses.dataclass(frozen=True)
class TFDSReader:
    """A reader of the encoded images of a prepared data set. Its keys are a split and the index of an image in it."""

    folder: str
    image_key: str

    def read(self, keys: Sequence[tuple[str, int]]) -> Iterator[bytes | UserError]:
        """Yield the bytes of each image, or why its record cannot be read."""
        for split, number in keys:
            try:
                yield _source(self.folder, split, self.image_key)[number][self.image_key]
            except Exception as e:  # errors of ArrayRecord and of TFDS share no base class
                yield UserError(f'{split} {number} cannot be read ({reason(e)})')


@functools.lru_cache(maxsize=4)
def _source(folder: str, split: str, image_key: str) -> Records:
    """Return the records of a split with their images still encoded."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    return builder.as_data_source(split, decoders={image_key: tfds.decode.SkipDecoding()})


def list_tfds(options: SourceOptions) -> Listing:
    """List the images of ``options.name``; TFDS downloads and prepares them first if necessary.

    Raises:
      UserError: if there is no such data set, or it cannot be downloaded or has no image.
    """
    import tensorflow_datasets as tfds

    data_set = options.name.removeprefix(TFDS)
    try:
        builder = tfds.builder(data_set, data_dir=tfds_source.data_dir(), file_format='array_record')
    except Exception as e:  # TFDS raises errors of many types for names and versions that do not exist
        raise UserError(f'name={options.name} is not a data set that TFDS knows ({reason(e)}): see its catalog') from e
    folder = pathlib.Path(builder.data_dir)
    image_key, label_key = _keys(options, builder.info.features)
    if not (folder / 'dataset_info.json').is_file():
        tfds_source.prepare(options.name, data_set, folder, next(iter(builder.url_infos), None))
    builder = tfds.builder_from_directory(folder)
    counts = {name: split.num_examples for name, split in builder.info.splits.items()}
    check('train' in counts, f'name={options.name} has no split train, only {", ".join(counts)}: choose another')
    test = next((name for name in TEST_SPLITS if name in counts), None)
    chosen = {'train': BY_HASH if test is None else TRAIN} | ({} if test is None else {test: TEST})
    for split in chosen:
        check(
            any(folder.glob(f'*-{split}.array_record*')),
            f'{folder} holds no ArrayRecord files of {split}, the only format that is read here: move it away, or point '
            f'TFDS_DATA_DIR at another folder, and it is prepared again',
        )
    keys = [(split, i) for split in chosen for i in range(counts[split])]
    feature, image = label_key and builder.info.features[label_key], builder.info.features[image_key]
    height, width, channels = image.shape
    return Listing(
        [f'{split} {i}' for split, i in keys],
        keys,
        TFDSReader(str(folder), image_key),
        _labels(folder, chosen, counts, image_key, label_key),
        tuple(feature.names) if feature else UNLABELLED,
        np.repeat(np.array(list(chosen.values()), np.int8), [counts[split] for split in chosen]),
        hashlib.sha256((folder / 'dataset_info.json').read_bytes()).hexdigest(),
        image_size=height if height == width else None,
        channels=1 if channels == 1 else 3,
    )


def _labels(
    folder: pathlib.Path, splits: Mapping[str, int], counts: Mapping[str, int], image_key: str, label_key: str | None
) -> np.ndarray:
    if label_key is None:
        return np.zeros(sum(counts[split] for split in splits), np.int32)
    found: list[int] = []
    for split in splits:
        source = _source(str(folder), split, image_key)
        for start in range(0, counts[split], CHUNK):
            rows = source.__getitems__(list(range(start, min(start + CHUNK, counts[split]))))
            found += [row[label_key] for row in rows]
    return np.array(found, np.int32)


def _keys(options: SourceOptions, features: Mapping[str, object]) -> tuple[str, str | None]:
    """Return the names of the features that hold the images and the classes."""
    from tensorflow_datasets import features as kinds

    images = [name for name, feature in features.items() if isinstance(feature, kinds.Image)]
    classes = [name for name, feature in features.items() if isinstance(feature, kinds.ClassLabel)]
    return chosen_keys(options, images, classes)


def chosen_keys(options: SourceOptions, images: Sequence[str], classes: Sequence[str]) -> tuple[str, str | None]:
    """Return the names of the columns that hold the images and the classes; None instead of the latter without classes.

    Raises:
      UserError: if there is no such column, or there are several and the options choose none.
    """
    check(bool(images), f'name={options.name} has no images')
    check(
        options.image_key is not None or len(images) == 1,
        f'name={options.name} has several columns of images: choose image_key={" or ".join(images)}',
    )
    image_key = pick(options.image_key or images[0], images, 'image_key')
    if options.labels == 'none':
        return image_key, None
    check(
        options.label_key is not None or len(classes) <= 1,
        f'name={options.name} has several columns of classes: choose label_key={" or ".join(classes)}, or labels=none',
    )
    if options.label_key is None and not classes:
        return image_key, None
    return image_key, pick(options.label_key or classes[0], classes, 'label_key')
