"""Write the results of a flagship: its weights, samples, loss curve and a report."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np
from etils import epath

from jaxgen.apps import weights
from jaxgen.apps.config import Config
from jaxgen.apps.restore import restore
from jaxgen.apps.trained import Trained
from jaxgen.io import grids, images
from jaxgen.io.files import replacing_set, write_atomically, write_json
from jaxgen.io.run_directory import METRICS, points, read_metrics
from jaxgen.runtime.random import root_key, stream
from jaxgen.training.grids import LARGEST_GRID

IMAGES_PER_FILE = 4000  # 32x32 pixels in colour are 12 MB


def write_results(config: Config, workdir: epath.Path, samples: int, facts: dict[str, float]) -> None:
    """Write ``flagship/`` into a run directory.

    The folder gets ``weights/`` (a run directory itself), ``generated/*.npz``, ``generated.png``, ``loss.png`` and
    ``report.json``.

    Args:
      config: the config of the run.
      workdir: the run directory.
      samples: number of images to sample.
      facts: further entries of the report.
    """
    from jaxgen.apps.reports import plots

    trained = restore(config, workdir)
    folder = workdir / 'flagship'
    _write_weights(trained, pathlib.Path(folder / 'weights'))
    rows = read_metrics(workdir / METRICS)
    losses = points(rows, 'loss')
    if losses:
        write_atomically(
            folder / 'loss.png', plots.png(plots.line_chart({'loss': losses}, 'training step', 'training loss'))
        )

    start = time.monotonic()
    _write_samples(trained, folder, samples)
    report = {
        'device': jax.devices()[0].device_kind,
        'devices': jax.device_count(),
        'jax': jax.__version__,
        'parameters': sum(x.size for x in jax.tree.leaves(trained.method.networks(trained.model))),
        'steps': trained.step,
        'images': trained.step * config.data.batch_size,
        'images_per_sec': _median([rate for _, rate in points(rows, 'images_per_sec')]),
        'sampling_seconds': time.monotonic() - start,
        'samples': samples,
        **facts,
    }
    write_json(folder / 'report.json', report)
    print(json.dumps(report))
    print(
        f'all results: {folder}; FID, here or elsewhere: python main.py --config={folder}/weights/config.json '
        f'--mode=evaluate --config.evaluation.generated={folder}/generated --config.evaluation.num={samples}'
    )


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _write_weights(trained: Trained, folder: pathlib.Path) -> None:
    config = trained.config
    folder.mkdir(parents=True, exist_ok=True)
    key = stream(root_key(config.seed), 'statistics')
    variables = trained.method.weights(trained.model, key, config.sample.ema)
    weights.write(trained, jax.device_get(variables), folder)


def _write_samples(trained: Trained, folder: epath.Path, samples: int) -> None:
    """Write samples as ``generated/*.npz``, and a grid of the first ones."""
    sampler = trained.sampler(trained.config.evaluation.seed, 'evaluation')
    with replacing_set(folder / 'generated', r'[0-9]{2,}\.npz') as write:
        for number, (piece, labels) in enumerate(_pieces(sampler.batches(trained.model, samples), IMAGES_PER_FILE)):
            named = {'labels': labels, 'class_names': np.array(trained.class_names)}
            write(f'{number:02}.npz', images.npz(images=piece, **named))
            if number == 0:
                shown = grids.by_class(piece[:LARGEST_GRID], labels[:LARGEST_GRID], trained.class_names)
                write_atomically(folder / 'generated.png', images.png(shown))


def _pieces(batches: Iterable[tuple[np.ndarray, np.ndarray]], size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield images and labels in pieces of ``size``; the last piece may be shorter."""
    held: list[tuple[np.ndarray, np.ndarray]] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += len(batch[0])
        while count >= size:
            found, labels = _joined(held)
            yield found[:size], labels[:size]
            held = [(found[size:], labels[size:])]
            count -= size
    if count:
        yield _joined(held)


def _joined(batches: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    found, labels = zip(*batches, strict=True)
    return np.concatenate(found), np.concatenate(labels)
