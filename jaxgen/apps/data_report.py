"""The mode ``data``: what training sees of its images, made with the functions and the random keys of its steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxgen.apps.config import Config
from jaxgen.apps.train import method_and_data
from jaxgen.data import Dataset, pipeline
from jaxgen.io import images
from jaxgen.io.files import write_atomically, write_json
from jaxgen.methods.base import Method
from jaxgen.runtime.random import root_key
from jaxgen.training.step import prepare_batch, step_keys

SHOWN = 32  # images in images.png
MEASURED = 2048  # minimum number of images behind the statistics; fewer if they are larger than 64 pixels a side


def run(config: Config, workdir: epath.Path) -> None:
    """Write ``data/images.png`` and ``data/statistics.json``; see ``report``."""
    method, dataset = method_and_data(config, workdir)
    report(config, method, dataset, workdir / 'data')


def report(config: Config, method: Method, dataset: Dataset, folder: epath.Path) -> None:
    """Write what training sees of its data to a folder.

    ``images.png`` has pairs of images, as stored and as the network sees them in the first steps. ``statistics.json`` has mean,
    standard deviation and extremes of both by channel, with 0 .. 255 as -1 .. 1, and the number of images of each class.

    Args:
      config: decides the order of the images and their augmentation.
      method: augments the images.
      dataset: the training images.
      folder: where to write.
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
    write_json(folder / 'statistics.json', statistics)

    pairs = np.stack([stored[:SHOWN], images.to_uint8(after[:SHOWN])], axis=1).reshape(-1, *stored.shape[1:])
    captions = [text for label in labels[:SHOWN] for text in (dataset.class_names[label], 'seen')]
    write_atomically(folder / 'images.png', images.png(images.grid(pairs, columns=8, captions=captions)))
    _show(config, dataset, statistics, folder)


def _by_channel(x: np.ndarray) -> dict[str, list[float]]:
    x = x.reshape(-1, x.shape[-1])
    values = {'mean': x.mean(0, dtype=np.float64), 'std': x.std(0, dtype=np.float64), 'min': x.min(0), 'max': x.max(0)}
    return {name: [round(float(v), 4) for v in value] for name, value in values.items()}


def _show(config: Config, dataset: Dataset, statistics: dict, folder: epath.Path) -> None:
    n, h, w, c = dataset.images.shape
    counts = statistics['images_by_class'].values()
    print(
        f'{config.data.name}: {n:,} images {h}x{w}x{c}, {len(dataset.class_names)} classes of {min(counts)} to '
        f'{max(counts)} images'
    )
    names = ('red', 'green', 'blue') if c == 3 else ('grey',)
    print(f'by channel, of {statistics["images_measured"]:,} images, 0 .. 255 as -1 .. 1:')
    for kind in ('stored', 'seen'):
        for i, name in enumerate(names):
            values = '  '.join(f'{key} {statistics[kind][key][i]:7.4f}' for key in ('mean', 'std', 'min', 'max'))
            print(f'  {kind:6} {name:5}  {values}')
    print(f'pictures: {folder / "images.png"}; numbers: {folder / "statistics.json"}')
