"""Evaluate several trained models under one protocol; ``report.py`` shows the results on a page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import numpy as np
from clu import parameter_overview
from etils import epath

from jaxgen.apps import stored_config
from jaxgen.apps.compare.images import SCRUTINISED, nearest, page_images
from jaxgen.apps.config import Config
from jaxgen.apps.data import load_split
from jaxgen.apps.evaluate import during_training
from jaxgen.apps.evaluate.evaluator import make_evaluator
from jaxgen.apps.evaluate.generated import STREAM, generated_set, requested_labels
from jaxgen.apps.evaluate.results import protocol_hash, stored_results
from jaxgen.apps.restore import restore
from jaxgen.apps.rules import validate
from jaxgen.apps.same_run import flatten
from jaxgen.apps.trained import Trained
from jaxgen.data import Dataset
from jaxgen.data.dataset import Images
from jaxgen.diffusion.compatibility import FEW_STEP
from jaxgen.errors import UserError, check
from jaxgen.io.files import write_json
from jaxgen.io.names import safe_name
from jaxgen.io.run_directory import CONFIG, EVALUATION, METRICS, points, read_metrics
from jaxgen.methods.diffusion.options import GUIDE_FIELDS
from jaxgen.metrics.evaluator import Evaluator
from jaxgen.metrics.sets.image_sets import ImageSet
from jaxgen.runtime.mesh import make_mesh
from jaxgen.runtime.progress import Stage
from jaxgen.schema import to_tree
from jaxgen.types import JsonObject

SHOWN = 40  # images of each model on the page
BEST = 8  # images of each model next to their nearest training images
MANIFOLD_SUBSET = 'parameters.manifold_subset_seed'  # field of a protocol; see jaxgen.metrics.registry.parameters
# The options of sampling that a few-step model keeps
OWN_SAMPLER = ('sampler', 'num_steps', 'guidance_scale', *GUIDE_FIELDS, 'guide_scale')
# Fields of a protocol that distinguish models. The page warns if protocols differ in any other field.
MODEL_FIELDS = tuple(
    f'generated.{field}'
    for field in (
        *('family', 'step', 'weights', 'base', 'adapter_scale'),
        *('sampler', 'num_steps', 'network_calls', 'seed'),
        *('guidance_scale', 'guidance_low', 'guidance_high', 'guidance_rescale', 'guide', 'guide_scale'),
        'eta',  # GANs have none
        'batch_size',  # changes only the rounding of an image
    )
)


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The best images of a model next to their nearest training images.

    Attributes:
      best: the images of which the classifier is most confident, uint8 ``[BEST, H, W, C]``.
      nearest: the training image that is nearest to each of them or to its mirror image.
      distances: Euclidean distance of each of the ``SCRUTINISED`` images to its nearest training image or mirror image, for
        pixels in [0, 1].
    """

    best: np.ndarray
    nearest: np.ndarray
    distances: np.ndarray


@dataclasses.dataclass(frozen=True)
class Entry:
    """One model of the comparison.

    Attributes:
      name: the name of its folder.
      results: the result of the evaluator for each seed.
      facts: the numbers of parameters and of training images, training steps/sec, sampling images/sec.
      log: the rows of the run's ``metrics.jsonl``.
      history: the evaluations during its training.
      images: the first images, uint8 ``[SHOWN, H, W, C]``.
      labels: the class that each image should show; None if the model was trained on several classes without labels.
      class_names: the classes of the model.
      neighbours: the best images and their nearest training images.
    """

    name: str
    results: list[JsonObject]
    facts: JsonObject
    log: list[dict[str, float]]
    history: list[JsonObject]
    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    neighbours: Neighbours


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Everything that the page shows.

    Attributes:
      entries: the models.
      class_names: the classes of the data.
      real: images of the test split, to show next to generated ones.
      real_labels: the classes of these images.
      real_distances: ``Neighbours.distances`` of images of the test split.
      differences: the fields in which protocols differ, except those that distinguish models.
    """

    entries: list[Entry]
    class_names: tuple[str, ...]
    real: np.ndarray
    real_labels: np.ndarray
    real_distances: np.ndarray
    differences: list[str]


@dataclasses.dataclass(frozen=True)
class _Shared:
    """The inputs that the evaluations of all models share; ``train`` holds the training images."""

    config: Config
    workdir: epath.Path
    evaluator: Evaluator
    train: Images


def compare(config: Config, workdir: epath.Path) -> Comparison:
    """Evaluate the newest (or best) model of each of ``config.compare.workdirs``.

    A result of the same protocol in this workdir or in the model's own workdir is used again.

    Raises:
      UserError: if a workdir holds no model, or one that was trained on other data.
    """
    folders = [epath.Path(name) for name in config.compare.workdirs or ()]
    if not folders:
        raise UserError(
            'config.compare.workdirs is not set: name the workdirs to compare, as in runs/ddpm_cifar,runs/dcgan_cifar'
        )
    configs = [_config_of(folder, config) for folder in folders]
    trained = [restore(c, folder) for c, folder in zip(configs, folders, strict=True)]
    train, test = (load_split(config, split) for split in ('train', 'test'))
    evaluator = make_evaluator(config, make_mesh(config.mesh.fsdp), train=train)
    check(
        len(test.images) > 0,
        f'{config.data.title} has no test image to compare with: add images, or set config.data.test_fraction',
    )
    shared = _Shared(config, workdir, evaluator, train.images)
    entries = [
        _entry(name, model, folder, shared)
        for name, model, folder in zip(_names(folders), trained, folders, strict=True)
    ]
    held_out = test.images[:: max(1, len(test.images) // SCRUTINISED)][:SCRUTINISED]
    shown = _by_class(test)[:SHOWN]
    return Comparison(
        entries,
        train.class_names,
        test.images[shown],
        test.labels[shown],
        _nearest('the test images', held_out, train.images)[1],
        differences([result['protocol'] for entry in entries for result in entry.results]),
    )


def _config_of(folder: epath.Path, config: Config) -> Config:
    """Return the config of a workdir with the sampling options and the devices of this comparison.

    Raises:
      UserError: if the workdir holds no config, or its model was trained on other data or cannot be sampled in this way.
    """
    path = folder / CONFIG
    if not path.exists():
        raise UserError(f'config.compare.workdirs: {folder} holds no trained model (no {CONFIG})')
    own = stored_config.read(path)
    for field in ('name', 'classes', 'image_size', 'crop'):
        trained_with, wanted = getattr(own.data, field), getattr(config.data, field)
        if trained_with != wanted:
            raise UserError(
                f'config.compare.workdirs: {folder} was trained with config.data.{field}={trained_with}, and this '
                f'comparison has {wanted}: models of different data have no common reference'
            )
    sample = to_tree(config.sample).items()
    changes = {f'sample.{field}': value for field, value in sample if hasattr(own.sample, field)}
    if 'diffusion' in own.sections and own.diffusion.parameterisation in FEW_STEP:  # it needs its own sampler
        changes |= {f'sample.{field}': getattr(own.sample, field) for field in OWN_SAMPLER}
    own = own.replace({**changes, 'mesh': config.mesh, 'checkpoint.restore': config.checkpoint.restore})
    validate(own)
    return own


def _names(folders: list[epath.Path]) -> list[str]:
    """Return the names of the folders, or their whole paths if two have the same name."""
    short = [folder.name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _entry(name: str, trained: Trained, folder: epath.Path, shared: _Shared) -> Entry:
    options = shared.config.evaluation
    sampler = trained.sampler(options.seed, STREAM)
    results = []
    for seed in range(options.seed, options.seed + shared.config.compare.seeds):
        generated = generated_set(trained, sampler.reseeded(seed), options.num)
        results.append(_result(f'{name}: step {trained.step:,}, seed {seed}', name, generated, folder, shared))

    stored = shared.workdir / EVALUATION / f'{safe_name(name)}-{protocol_hash(results[0]["protocol"])}.npz'
    found = page_images(trained, sampler, shared.evaluator, stored)
    images = found.images
    log = read_metrics(folder / METRICS)
    rates = [rate for _, rate in points(log, 'steps_per_sec')]
    networks = trained.method.networks(trained.model)
    facts = {
        'parameters': {part: parameter_overview.count_parameters(params) for part, params in networks.items()},
        'training_images': trained.step * trained.config.data.batch_size,
        'steps_per_sec': float(np.median(rates)) if rates else None,
        'sampling_images_per_sec': found.rate,
    }
    best = found.order[:BEST]
    indices, distances = _nearest(name, images, shared.train)
    neighbours = Neighbours(images[best], shared.train[indices[best]], distances)
    labels = requested_labels(trained, sampler, SHOWN)
    history = during_training.read(folder)
    return Entry(name, results, facts, log, history, images[:SHOWN], labels, trained.class_names, neighbours)


def _result(title: str, name: str, images: ImageSet, folder: epath.Path, shared: _Shared) -> JsonObject:
    """Return the stored result of this protocol, or evaluate the images; in both cases write the result to ``evaluation/``.

    Args:
      title: the name of the images in messages.
      name: the name of the model.
      images: the images.
      folder: the run directory of the model.
      shared: the evaluator and the other inputs.
    """
    wanted = set(shared.config.evaluation.metrics)
    protocol = shared.evaluator.protocol(images)
    hashed = protocol_hash(protocol)
    stored = [result for place in (shared.workdir, folder) for result in stored_results(place).values()]
    same = (old for old in stored if protocol_hash(old['protocol']) == hashed and wanted <= set(old.get('metrics', ())))
    result = next(same, None)
    if result is None:
        for sentence in unused_results(stored, protocol):
            print(f'{name}: {sentence}', flush=True)
        print(f'{title}: sampling and evaluating {images.count:,} images', flush=True)
        result = shared.evaluator(images)
    else:
        print(f'{title}: the metrics are stored already', flush=True)
    write_json(shared.workdir / EVALUATION / f'{safe_name(name)}-{hashed}.json', result)
    return result


def unused_results(stored: Sequence[JsonObject], protocol: JsonObject) -> list[str]:
    """Return sentences that explain why stored results of the same images do not match a protocol.

    An older result may lack some fields of the description of its images.
    """
    protocol = json.loads(json.dumps(protocol))
    images = protocol['generated']
    of_these_images = [old['protocol'] for old in stored if old['protocol']['generated'].items() <= images.items()]
    fields = [differences([old, protocol]) for old in of_these_images]
    words = (
        f'a stored result of these images has another protocol ({", ".join(names)}), so they are evaluated again'
        for names in fields
        if names
    )
    return list(dict.fromkeys(words))


def _nearest(name: str, images: np.ndarray, others: Images) -> tuple[np.ndarray, np.ndarray]:
    with Stage(f'nearest training images of {name}', len(others)) as stage:
        return nearest(images, others, stage.reach)


def _by_class(dataset: Dataset) -> np.ndarray:
    """Return the indices of images of a data set such that the classes take turns, as in samples of a model.

    Classes without images are left out.
    """
    queues = [np.flatnonzero(dataset.labels == label) for label in np.unique(dataset.labels)]
    rows = min(SHOWN, *map(len, queues))
    return np.array([queue[i] for i in range(rows) for queue in queues], int)


def differences(protocols: list[JsonObject]) -> list[str]:
    """Return the fields in which protocols differ, except those that distinguish models (``MODEL_FIELDS``)."""
    flat = [flatten(json.loads(json.dumps(protocol))) for protocol in protocols]
    fields = sorted({field for one in flat for field in one})
    missing = object()
    return [
        field
        for field in fields
        if field not in MODEL_FIELDS and any(one.get(field, missing) != flat[0].get(field, missing) for one in flat)
    ]


def difference_notes(fields: Sequence[str]) -> list[str]:
    """Return sentences about the fields in which protocols differ; ``fields`` is what ``differences`` returns."""
    others = [field for field in fields if field != MANIFOLD_SUBSET]
    notes = [f'The protocols differ in {", ".join(others)}: compare with care.'] if others else []
    if MANIFOLD_SUBSET in fields:
        notes.append(
            f'The protocols differ in {MANIFOLD_SUBSET}: precision and recall of some results use the first images of a set, '
            f'those of others a random choice, so they do not compare.'
        )
    return notes
