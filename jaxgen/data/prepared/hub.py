"""List the images of a data set on the Hugging Face Hub, which the library ``datasets`` downloads and caches."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from jaxgen.data.dataset import UNLABELLED
from jaxgen.data.options import HUB, SourceOptions
from jaxgen.data.prepared.listing import BY_HASH, TEST, TRAIN, Listing, Records, natural_order
from jaxgen.data.prepared.tfds import TEST_SPLITS, chosen_keys
from jaxgen.errors import UserError, check, reason
from jaxgen.io.download import reachable


@dataclasses.dataclass(frozen=True)
class HubReader:
    """A reader of the encoded images of a data set. Its keys are the name of a split and the index of an image in it."""

    splits: Mapping[str, Records]
    image_key: str

    def read(self, keys: Sequence[tuple[str, int]]) -> Iterator[bytes | UserError]:
        """Yield the bytes of each image, or why it cannot be read."""
        for split, number in keys:
            try:
                image = self.splits[split][number][self.image_key]
                if image is None:
                    yield UserError(f'{split} {number} has no image')
                else:
                    yield image['bytes'] if image['bytes'] is not None else pathlib.Path(image['path']).read_bytes()
            except Exception as e:  # errors of Arrow and of the file system share no base class
                yield UserError(f'{split} {number} cannot be read ({reason(e)})')


def list_hub(options: SourceOptions) -> Listing:
    """List the images of ``options.name``; ``datasets`` downloads them first if necessary.

    Raises:
      UserError: if there is no such data set, or it cannot be downloaded or has no image.
    """
    name, _, config = options.name.removeprefix(HUB).partition(':')
    try:
        import datasets
    except ImportError as e:
        raise UserError(f'name={options.name} needs the library datasets: pip install datasets') from e
    found = _load(options, name, config or None)
    features = next(iter(found.values())).features
    images = [key for key, feature in features.items() if isinstance(feature, datasets.Image)]
    classes = [key for key, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    texts = [key for key, f in features.items() if getattr(f, 'dtype', None) == 'string' and key == options.label_key]
    image_key, label_key = chosen_keys(options, images, [*classes, *texts])
    test = next((split for split in TEST_SPLITS if split in found), None)
    check('train' in found, f'name={options.name} has no split train, only {", ".join(found)}: choose another')
    chosen = {'train': BY_HASH if test is None else TRAIN} | ({} if test is None else {test: TEST})
    splits = {split: found[split].cast_column(image_key, datasets.Image(decode=False)) for split in chosen}
    keys = [(split, i) for split in chosen for i in range(len(splits[split]))]
    labels, class_names = _labels(splits, label_key)
    return Listing(
        [f'{split} {i}' for split, i in keys],
        keys,
        HubReader({split: rows.select_columns([image_key]) for split, rows in splits.items()}, image_key),
        labels,
        class_names,
        np.repeat(np.array(list(chosen.values()), np.int8), [len(splits[split]) for split in chosen]),
        hashlib.sha256(' '.join(found[split]._fingerprint for split in chosen).encode()).hexdigest(),
    )


def _load(options: SourceOptions, name: str, config: str | None) -> Mapping[str, Records]:
    """Return the splits of a data set by their names."""
    import datasets

    endpoint, is_offline = datasets.config.HF_ENDPOINT, datasets.config.HF_HUB_OFFLINE
    online = not is_offline and (pathlib.Path(name).is_dir() or reachable(endpoint))
    try:
        mode = None if online else datasets.DownloadConfig(local_files_only=True)
        datasets.config.HF_HUB_OFFLINE = not online  # without a network it would retry for minutes
        return datasets.load_dataset(name, config, download_config=mode)
    except (
        Exception
    ) as e:  # errors of datasets, of the Hub, of its HTTP client and of the file system share no base class
        if not online:
            raise UserError(
                f'name={options.name} is not on this machine, and {endpoint} cannot be reached: connect, or name a folder'
            ) from e
        raise UserError(f'name={options.name} cannot be loaded ({reason(e)}): check the name') from e
    finally:
        datasets.config.HF_HUB_OFFLINE = is_offline


def _labels(splits: Mapping[str, Records], label_key: str | None) -> tuple[np.ndarray, tuple[str, ...]]:
    if label_key is None:
        return np.zeros(sum(map(len, splits.values())), np.int32), UNLABELLED
    values = [value for rows in splits.values() for value in rows[label_key]]
    feature = next(iter(splits.values())).features[label_key]
    if hasattr(feature, 'names'):
        check(None not in values and min(values) >= 0, f'label_key={label_key}: some images have no class')
        return np.array(values, np.int32), tuple(feature.names)
    check(None not in values, f'label_key={label_key}: some images have no class')
    class_names = natural_order(set(values))
    number = {name: i for i, name in enumerate(class_names)}
    return np.array([number[value] for value in values], np.int32), tuple(class_names)
