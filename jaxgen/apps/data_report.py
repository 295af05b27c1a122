"""The mode ``data``: show the images as training sees them, with the functions and the random keys of its steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxgen.apps.config import Config
from jaxgen.apps.train import method_and_data
from jaxgen.data import Dataset, pipeline
from jaxgen.errors import on_one_line
from jaxgen.io import grids, images
from jaxgen.io.files import write_atomically, write_json
from jaxgen.io.grids import Labels
from jaxgen.methods.base import Method
from jaxgen.runtime.random import root_key
from jaxgen.training.step import prepare_batch, step_keys
from jaxgen.types import PyTree

SHOWN = 32  # images in images.png
MOST = 8  # sizes, classes and refused files that have a line each; the rest is summed up, if more than one
BAR = 40  # characters of the longest bar
MEASURED = 2048  # number of images in the statistics; fewer if they have more than 64 pixels a side


def run(config: Config, workdir: epath.Path) -> None:
    """Write ``data/images.png`` and ``data/statistics.json``; see ``report``."""
    method, dataset = method_and_data(config, workdir)
    report(config, method, dataset, workdir / 'data')


def report(config: Config, method: Method, dataset: Dataset, folder: epath.Path) -> None:
    """Write a picture and statistics of the training images to a folder.

    ``images.png`` shows pairs of images: as stored, and as the network sees them in the first steps. ``statistics.json`` has the
    mean, standard deviation and extremes of both by channel, with pixel values scaled to [-1, 1]; the number of images of each
    class and of each original size; and the files that cannot be used.

    Args:
      config: decides the order of the images and their augmentation.
      method: augments the images.
      dataset: the training images.
      folder: the folder to write to.
    """
    batch_size = config.data.batch_size

    @jax.jit
    def seen(batch, step):
        flip_key, step_key = step_keys(root_key(config.seed, config.train.prng), step)
        return method.augment(prepare_batch(batch, flip_key, config.data.random_flip)['image'], step_key)

    pixels = dataset.images.shape[1] * dataset.images.shape[2]
    num = max(SHOWN, min(MEASURED, MEASURED * 64**2 // pixels))
    batches = [pipeline.batch(dataset, config.seed, step, batch_size) for step in range(-(-num // batch_size))]
    after = np.concatenate([seen(batch, jnp.int32(step)) for step, batch in enumerate(batches)])
    stored = np.concatenate([batch['image'] for batch in batches])
    labels = np.concatenate([batch['label'] for batch in batches])
    statistics = {
        'stored': _by_channel(images.from_uint8(stored)),
        'seen': _by_channel(after),
        'images_measured': len(stored),
        'images_by_class': dict(
            zip(
                dataset.class_names,
                np.bincount(dataset.labels, minlength=len(dataset.class_names)).tolist(),
                strict=True,
            )
        ),
    }
    statistics |= _of_files(dataset)
    write_json(folder / 'statistics.json', statistics)

    pairs = np.stack([stored[:SHOWN], images.to_uint8(after[:SHOWN])], axis=1).reshape(-1, *stored.shape[1:])
    captions = [text for label in labels[:SHOWN] for text in (dataset.class_names[label], 'seen in training')]
    write_atomically(folder / 'images.png', images.png(grids.labelled(pairs, Labels(captions=captions), columns=6)))
    _show(config, dataset, statistics, folder)


def _of_files(dataset: Dataset) -> dict[str, PyTree]:
    """Return the original sizes of the images, the commonest first, and the files that cannot be used."""
    origin = dataset.origin
    if origin is None:
        height, width = dataset.images.shape[1:3]
        return {'sizes': {f'{width}x{height}': len(dataset.images)}, 'refused': []}
    sizes, counts = np.unique(origin.sizes, axis=0, return_counts=True)
    order = np.argsort(-counts, kind='stable')
    found = {f'{sizes[i, 0]}x{sizes[i, 1]}': int(counts[i]) for i in order}
    return {'sizes': found, 'refused': [list(entry) for entry in origin.refused]}


def _by_channel(x: np.ndarray) -> dict[str, list[float]]:
    x = x.reshape(-1, x.shape[-1])
    values = {'mean': x.mean(0, dtype=np.float64), 'std': x.std(0, dtype=np.float64), 'min': x.min(0), 'max': x.max(0)}
    return {name: [round(float(v), 4) for v in value] for name, value in values.items()}


def _show(config: Config, dataset: Dataset, statistics: dict, folder: epath.Path) -> None:
    n, h, w, c = dataset.images.shape
    counts = statistics['images_by_class'].values()
    classes = f'{len(counts)} classes of {min(counts):,} to {max(counts):,} images' if len(counts) > 1 else 'one class'
    print(f'{config.data.title}: {n:,} images {h}x{w}x{c}, {classes}')
    names = ('red', 'green', 'blue') if c == 3 else ('grey',)
    _show_files(statistics)
    print(f'pixel values of {statistics["images_measured"]:,} images by channel, scaled from 0..255 to -1..1:')
    for kind in ('stored', 'seen'):
        for i, name in enumerate(names):
            values = '  '.join(f'{key} {statistics[kind][key][i]:7.4f}' for key in ('mean', 'std', 'min', 'max'))
            print(f'  {kind:6} {name:5}  {values}')
    print(f'pictures: {folder / "images.png"}; numbers: {folder / "statistics.json"}')


def _show_files(statistics: dict) -> None:
    """Print histograms of sizes and classes, and the files that cannot be used."""
    _show_bars('images of each original size', 'sizes', statistics['sizes'])
    if len(statistics['images_by_class']) > 1:
        _show_bars('images of each class', 'classes', statistics['images_by_class'])
    refused = statistics['refused']
    if refused:
        print(f'files that cannot be used: {len(refused):,}')
    for _, why in refused[:MOST]:
        print(f'  {on_one_line(why)}')
    if len(refused) > MOST:
        print(f'  and {len(refused) - MOST:,} more')


def _show_bars(title: str, kind: str, counts: dict[str, int]) -> None:
    """Print a bar for each of the first entries, and how many images the others have together.

    Args:
      title: the heading.
      kind: what the entries are, in the plural.
      counts: the number of images of each entry.
    """
    print(f'{title}:')
    entries = list(counts.items())
    largest, shown = max(counts.values()), entries if len(entries) <= MOST + 1 else entries[:MOST]
    width = max(len(name) for name, _ in shown)
    for name, count in shown:
        print(f'  {on_one_line(name):{width}}  {"#" * max(1, round(BAR * count / largest))} {count:,}')
    rest = [count for _, count in entries[len(shown) :]]
    if rest:
        print(f'  {len(rest):,} other {kind}: {sum(rest):,} images')
