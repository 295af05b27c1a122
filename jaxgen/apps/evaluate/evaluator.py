"""Make the evaluator that a config describes, and show its results as text."""

from __future__ import annotations

from collections.abc import Sequence

from jax.sharding import Mesh

from jaxgen.apps import data
from jaxgen.apps.config import Config
from jaxgen.apps.evaluate.results import titled
from jaxgen.data.dataset import Dataset
from jaxgen.data.options import kind_of
from jaxgen.errors import UserError, check
from jaxgen.metrics.class_accuracy import TrainedClassifier, find_classifier
from jaxgen.metrics.evaluator import Evaluator
from jaxgen.metrics.features import Extractor, make_extractor
from jaxgen.metrics.registry import require_enough
from jaxgen.metrics.sets.image_sets import ImageSet, from_dataset, open_set
from jaxgen.runtime.progress import Stage
from jaxgen.schema import located
from jaxgen.types import Fields, JsonObject


def make_evaluator(
    config: Config, mesh: Mesh, metrics: tuple[str, ...] | None = None, *, train: Dataset | None = None
) -> Evaluator:
    """Return the evaluator that a config describes.

    Args:
      config: ``config.evaluation`` describes the evaluator; ``config.data`` names the reference if that does not.
      mesh: the devices that compute features.
      metrics: keys of ``METRICS``; those of ``config.evaluation.metrics`` if not set.
      train: the training images, if they have been read already.

    Raises:
      UserError: if the reference or the weights of a network cannot be read, the network does not take the images of the
        reference, or a metric needs more images.
    """
    options = config.evaluation
    metrics = options.metrics if metrics is None else metrics
    require_enough(metrics, options.num, f'config.evaluation.num={options.num}')
    classifier = classifier_of(config)
    with Stage('reading the network of the features', sums_up=False):
        extractor = _extractor(config, classifier)
    name = options.reference or f'{config.data.name}:train'
    with Stage(f'reading the images of {name}', sums_up=False):
        reference = _open(config, 'reference', name, metrics, train if name == f'{config.data.name}:train' else None)
    with located('config.evaluation.extractor'):
        return Evaluator(
            extractor,
            reference,
            metrics,
            classifier=classifier,
            mesh=mesh,
            batch_size=options.batch_size,
        )


def classifier_of(config: Config) -> TrainedClassifier | None:
    """Return the classifier of ``config.evaluation.judge``, or the one that comes with jaxgen for the data of a config."""
    with located('config.evaluation.judge'):
        return find_classifier(config.data.name, config.evaluation.judge)


def stored_set(config: Config) -> ImageSet:
    """Open the images that ``config.evaluation.generated`` names.

    Raises:
      UserError: as ``open_set`` does, and if a metric needs more images.
    """
    options = config.evaluation
    check(options.generated is not None, 'config.evaluation.generated is not set')
    return _open(config, 'generated', str(options.generated), options.metrics)


def _open(config: Config, field: str, name: str, metrics: Sequence[str], dataset: Dataset | None = None) -> ImageSet:
    """Open the set of ``config.evaluation.generated`` or ``.reference``, and refuse it if a metric needs more images.

    Args:
      config: the config.
      field: ``generated`` or ``reference``.
      name: the set, as for ``open_set``.
      metrics: keys of ``METRICS``.
      dataset: the set, if it has been read already.
    """
    is_reference = field == 'reference'
    limit = 'reference_num' if is_reference else 'num'
    num = getattr(config.evaluation, limit)
    if data.is_split(config, name):
        dataset = dataset or data.load_split(config, name.rpartition(':')[2])
        found = from_dataset(dataset, name, num)
    else:
        found = open_set(name, f'config.evaluation.{field}', num, dataset=dataset, **set_options(config))
    decisive, value = (limit, num) if found.count == num else (field, name)
    require_enough(metrics, found.count, f'config.evaluation.{decisive}={value}', is_reference=is_reference)
    return found


def set_options(config: Config) -> Fields:
    """Return the arguments of ``open_set`` with which images have the size and the class labels of a config's data."""
    known, own = data.facts(config), config.data
    if kind_of(own.name) is not None:  # other data sets have other classes and crops
        return {'class_names': known.class_names, 'image_size': known.image_size}
    return {'class_names': known.class_names, 'classes': own.classes, 'image_size': own.image_size, 'crop': own.crop}


def _extractor(config: Config, classifier: TrainedClassifier | None) -> Extractor:
    options = config.evaluation
    if options.extractor != 'judge':
        weights = 'inception_weights' if options.extractor == 'inception' else 'dinov2_weights'
        with located(f'config.evaluation.{weights}'):
            return make_extractor(options.extractor, options.inception_weights, options.dinov2_weights, options.resize)
    if classifier is None:
        raise UserError(
            f'config.evaluation.extractor=judge needs a classifier, and jaxgen has none for {config.data.title}: train one '
            f'and pass --config.evaluation.judge=FILE.safetensors, or use inception or dinov2'
        )
    return classifier.extractor()


def summary(result: JsonObject) -> str:
    """Return a result as lines of text: metrics, then warnings."""
    lines = []
    for name in ('fid', 'inception_score', 'precision', 'recall', 'density', 'coverage'):
        if result.get(name) is not None:
            lines.append(f'{_title(name, result["protocol"])}: {result[name]:.4f}')
    if 'kid' in result:
        deviation = result['kid_std']
        spread = ', deviation not estimated' if deviation is None else f' +- {deviation:.6f} over subsets'
        lines.append(f'{_title("kid", result["protocol"])}: {result["kid"]:.6f}{spread}')
    if 'judge' in result:
        lines.append(f'classifier: {_recognised(result["judge"])}')
    return '\n'.join(lines + [f'warning: {text}' for text in result['warnings']])


def _title(name: str, protocol: Fields) -> str:
    """Return the name of a metric in a result, or its title under the protocol if that differs from the usual one."""
    usual = {'fid': 'FID', 'kid': 'KID', 'inception_score': 'Inception Score'}.get(name, name)
    title = titled(usual, protocol)
    return name if title == usual else title


def _recognised(found: JsonObject) -> str:
    confidence = f'mean confidence {found["mean_confidence"]:.3f}'
    if found.get('accuracy') is None:
        return confidence
    return f'{found["accuracy"]:.1%} recognised as the requested class, {confidence}'
