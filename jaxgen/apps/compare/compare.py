"""Several trained models under one protocol: what ``report.py`` lays out on a page."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import numpy as np
from clu import parameter_overview
from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps import stored_config
from jaxgen.apps.config import validate
from jaxgen.apps.evaluate import during_training
from jaxgen.apps.evaluate.evaluator import Evaluator, loaded, protocol_hash, stored_results
from jaxgen.apps.evaluate.generated import STREAM, asked_for, generated_set
from jaxgen.apps.restore import Trained, restore
from jaxgen.apps.same_run import flatten
from jaxgen.data import Dataset, load
from jaxgen.errors import UserError, names
from jaxgen.io.files import write_json
from jaxgen.runtime.mesh import make_mesh
from jaxgen.training.log import read_metrics
from jaxgen.training.sampling import SamplePipeline

SHOWN = 40  # images of each model on the page
SCRUTINISED = 200  # images among which the best are looked for
BEST = 8
# What tells one model from another. A figure's protocol may differ in these; all else is said on the page.
OF_THE_MODEL = tuple(
    f'generated.{field}'
    for field in (
        *('family', 'step', 'weights', 'base', 'adapter_scale'),
        *('sampler', 'num_steps', 'network_calls', 'seed'),
        *('guidance_scale', 'guidance_low', 'guidance_high', 'guidance_rescale'),
    )
)


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """Of the best images: the images, and the nearest training image of each; distances of all that were looked at.

    Attributes:
      distances: Euclidean, from pixels in [0, 1], to the nearest training image or its mirror image.
    """

    best: np.ndarray
    nearest: np.ndarray
    distances: np.ndarray


@dataclasses.dataclass(frozen=True)
class Entry:
    """One model of the comparison.

    Attributes:
      results: of ``Evaluator``, one for each seed.
      facts: parameters, training images, steps/sec, sampling images/sec.
      log: the rows of the run's ``metrics.jsonl``.
      history: its evaluations in training.
      images: ``[SHOWN, H, W, C]``.
    """

    name: str
    results: list[dict[str, Any]]
    facts: dict[str, Any]
    log: list[dict[str, float]]
    history: list[dict[str, Any]]
    images: np.ndarray
    neighbours: Neighbours


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All that a page shows.

    Attributes:
      real: images of the test split, for the eye.
      real_distances: as ``Neighbours.distances``, of real images that no model was trained on.
      differences: the fields in which the protocols of the figures differ, beyond what tells the models apart.
    """

    entries: list[Entry]
    class_names: tuple[str, ...]
    real: np.ndarray
    real_distances: np.ndarray
    differences: list[str]


def compare(config: ConfigDict, workdir: epath.Path) -> Comparison:
    """Judges the newest (or best) model of each of ``config.compare.workdirs``.

    A figure that this workdir or the model's own holds already, under the same protocol, is not made again.

    Raises:
      UserError: if a workdir cannot be compared: it has no model, or one of other data.
    """
    folders = [epath.Path(name) for name in names(config.compare.workdirs)]
    if not folders:
        raise UserError(
            'config.compare.workdirs is empty: name the workdirs to compare, as in runs/ddpm_cifar,runs/dcgan_cifar'
        )
    configs = [_config_of(folder, config) for folder in folders]
    trained = [restore(c, folder) for c, folder in zip(configs, folders, strict=True)]
    evaluator = Evaluator(config, make_mesh(config.mesh.fsdp), names(config.evaluation.metrics))
    train, test = (load(config.data.name, split, **loaded(config)) for split in ('train', 'test'))
    entries = [
        _entry(name, model, folder, config, evaluator, train.images, workdir)
        for name, model, folder in zip(_names(folders), trained, folders, strict=True)
    ]
    held_out = test.images[:: max(1, len(test.images) // SCRUTINISED)][:SCRUTINISED]
    return Comparison(
        entries,
        train.class_names,
        _by_class(test)[:SHOWN],
        nearest(held_out, train.images)[1],
        differences([result['protocol'] for entry in entries for result in entry.results]),
    )


def _config_of(folder: epath.Path, config: ConfigDict) -> ConfigDict:
    """A workdir's own config, but sampled, evaluated and laid on devices as ``config`` says.

    Raises:
      UserError: if it holds none, its model is of other data, or cannot be sampled so.
    """
    path = folder / 'config.json'
    if not path.exists():
        raise UserError(f'config.compare.workdirs: {folder} holds no trained model (no config.json)')
    own = stored_config.get_config(path)
    for field in ('name', 'classes', 'image_size', 'crop'):
        if own.data[field] != config.data[field]:
            raise UserError(
                f'config.compare.workdirs: {folder} was trained with config.data.{field}={own.data[field]}, and this '
                f'comparison has {config.data[field]!r}: one reference cannot judge both'
            )
    for group in ('sample', 'mesh'):
        for field, value in config[group].items():
            if field in own[group]:
                own[group][field] = value
    own.checkpoint.restore = config.checkpoint.restore
    validate(own)
    return own


def _names(folders: list[epath.Path]) -> list[str]:
    """The folders' own names, or their whole paths where two are called alike."""
    short = [folder.name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _entry(
    name: str,
    trained: Trained,
    folder: epath.Path,
    config: ConfigDict,
    evaluator: Evaluator,
    train: np.ndarray,
    workdir: epath.Path,
) -> Entry:
    options = config.evaluation
    wanted = set(names(options.metrics))
    sampler = trained.sampler(options.seed, STREAM)
    results = []
    for seed in range(options.seed, options.seed + config.compare.seeds):
        print(f'{name}: step {trained.step}, seed {seed}', flush=True)
        images = generated_set(trained, sampler.reseeded(seed), options.num)
        about = protocol_hash(evaluator.protocol(images))
        path = workdir / 'evaluation' / f'{name.replace("/", "-")}-{about}.json'
        made = [result for place in (workdir, folder) for result in stored_results(place).values()]
        same = (old for old in made if protocol_hash(old['protocol']) == about and wanted <= set(old['metrics']))
        result = next(same, None) or evaluator(images)
        write_json(path, result)
        results.append(result)

    images, rate = _draw(sampler, trained)
    log = read_metrics(folder / 'metrics.jsonl')
    networks = trained.family.networks(trained.model)
    facts = {
        'parameters': {part: parameter_overview.count_parameters(params) for part, params in networks.items()},
        'training_images': trained.step * trained.config.data.batch_size,
        'steps_per_sec': float(np.median([row['steps_per_sec'] for row in log])) if log else None,
        'sampling_images_per_sec': rate,
    }
    labels = asked_for(trained, sampler, len(images))
    best = evaluator.best(images, labels, trained.class_names)[:BEST]
    indices, distances = nearest(images, train)
    found = Neighbours(images[best], train[indices[best]], distances)
    return Entry(name, results, facts, log, during_training.read(folder), images[:SHOWN], found)


def _draw(sampler: SamplePipeline, trained: Trained) -> tuple[np.ndarray, float]:
    """The first ``SCRUTINISED`` images of the evaluation, and how many a second are drawn once all is compiled."""
    for _ in sampler.batches(trained.model, 1):
        pass
    start = time.perf_counter()
    images, _ = sampler(trained.model, SCRUTINISED)
    drawn = -(-SCRUTINISED // trained.config.sample.batch_size) * trained.config.sample.batch_size
    return images, drawn / (time.perf_counter() - start)


def nearest(images: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The index of the nearest of ``others`` or its mirror image, and its Euclidean distance, pixels in [0, 1].

    Args:
      images: uint8 ``[N, H, W, C]``.
      others: uint8 ``[M, H, W, C]``.

    Returns:
      int ``[N]`` and float ``[N]``.
    """
    a = images.reshape(len(images), -1).astype(np.float32) / 255
    best, index = np.full(len(a), np.inf), np.zeros(len(a), int)
    for start in range(0, len(others), 5000):
        for part in (others[start : start + 5000], others[start : start + 5000, :, ::-1]):
            b = part.reshape(len(part), -1).astype(np.float32) / 255
            squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
            at = squares.argmin(1)
            found = squares[np.arange(len(a)), at]
            index = np.where(found < best, at + start, index)
            best = np.minimum(found, best)
    return index, np.sqrt(np.maximum(best, 0))


def _by_class(dataset: Dataset) -> np.ndarray:
    """Images whose labels go round as those of a sampler do."""
    queues = [dataset.images[dataset.labels == label] for label in range(len(dataset.class_names))]
    rows = min(SHOWN, *map(len, queues))
    return np.stack([queue[i] for i in range(rows) for queue in queues])


def differences(protocols: list[dict[str, Any]]) -> list[str]:
    """The fields in which protocols differ, but for those that tell one model from another."""
    flat = [flatten(json.loads(json.dumps(protocol))) for protocol in protocols]
    fields = sorted({field for one in flat for field in one})
    missing = object()
    return [
        field
        for field in fields
        if field not in OF_THE_MODEL and any(one.get(field, missing) != flat[0].get(field, missing) for one in flat)
    ]
