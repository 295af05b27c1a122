"""The registry of metrics: each is a function of the features of two sets of images.

To add a metric, write a function of a ``Pair`` that returns JSON values by name, and add it to ``METRICS``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int32

from jaxgen.errors import check
from jaxgen.metrics.class_probabilities import inception_score
from jaxgen.metrics.features import Features
from jaxgen.metrics.frechet import frechet_distance, frechet_distance_of_few
from jaxgen.metrics.kernel import kernel_distance
from jaxgen.metrics.manifold import density_coverage, precision_recall
from jaxgen.metrics.moments import Moments
from jaxgen.metrics.sets.image_sets import SUBSET_SEED, subset
from jaxgen.types import JsonObject

FEWEST_OF_A_CLASS = 100  # the FID of a class is left out if either set has fewer images of it
MANIFOLD_IMAGES = 10_000  # number of images, chosen at random, that represent a larger set in a manifold
MANIFOLD_NEIGHBOURS = 3  # the balls of precision and recall reach to this nearest neighbour
COVERAGE_NEIGHBOURS = 5  # the balls of density and coverage reach to this nearest neighbour
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000
INCEPTION_SCORE_SPLITS = 10
# The settings of the metrics, for the protocol.
PARAMETERS = {
    'kid_subsets': KID_SUBSETS,
    'kid_subset_size': KID_SUBSET_SIZE,
    'inception_score_splits': INCEPTION_SCORE_SPLITS,
    'manifold_images': MANIFOLD_IMAGES,
    'manifold_neighbours': MANIFOLD_NEIGHBOURS,
}
# The settings of metrics that earlier versions did not have; a protocol contains them only if it has such a metric.
OWN_PARAMETERS = {'density_coverage': {'coverage_neighbours': COVERAGE_NEIGHBOURS}}


@dataclasses.dataclass(frozen=True)
class Pair:
    """A pair of feature sets: of generated and of reference images.

    Attributes:
      fake: features of the generated images.
      real: features of the reference images.
      fake_labels: the class of each generated image, or None if the classes are not known.
      real_labels: the class of each reference image, or None if the classes are not known.
      class_names: the names that both labels index; empty unless both sets have labels of the same classes.
    """

    fake: Features
    real: Features
    fake_labels: Int32[np.ndarray, ' n'] | None = None
    real_labels: Int32[np.ndarray, ' m'] | None = None
    class_names: tuple[str, ...] = ()


def _fid(pair: Pair) -> JsonObject:
    fake, real = pair.fake.features, pair.real.features
    if 2 * min(len(fake), len(real)) < fake.shape[1]:
        return {'fid': frechet_distance_of_few(fake, real)}
    return {'fid': frechet_distance(Moments.streamed(fake), Moments.streamed(real))}


def _kid(pair: Pair) -> JsonObject:
    mean, std = kernel_distance(pair.fake.features, pair.real.features, KID_SUBSETS, KID_SUBSET_SIZE)
    return {'kid': mean, 'kid_std': std}


def _inception_score(pair: Pair) -> JsonObject:
    if pair.fake.logits is None:  # these weights have no classifier
        return {'inception_score': None, 'inception_score_std': None}
    mean, std = inception_score(pair.fake.logits, INCEPTION_SCORE_SPLITS)
    return {'inception_score': mean, 'inception_score_std': std}


def _precision_recall(pair: Pair) -> JsonObject:
    fake, real = (_spanning(found.features) for found in (pair.fake, pair.real))
    precision, recall = precision_recall(fake, real, MANIFOLD_NEIGHBOURS)
    return {'precision': precision, 'recall': recall}


def _density_coverage(pair: Pair) -> JsonObject:
    fake, real = (_spanning(found.features) for found in (pair.fake, pair.real))
    density, coverage = density_coverage(fake, real, COVERAGE_NEIGHBOURS)
    return {'density': density, 'coverage': coverage}


def _spanning(features: np.ndarray) -> np.ndarray:
    """Return the features that span a manifold: all, or a random subset, since a large set may be sorted by class."""
    return features[subset(len(features), MANIFOLD_IMAGES)]


def _fid_per_class(pair: Pair) -> JsonObject:
    """Compute the FID of each class with enough images in both sets."""
    found = {}
    for label, name in enumerate(pair.class_names):
        fake = pair.fake.features[pair.fake_labels == label]
        real = pair.real.features[pair.real_labels == label]
        if min(len(fake), len(real)) >= FEWEST_OF_A_CLASS:
            found[name] = frechet_distance_of_few(fake, real)
    return {'fid_per_class': found} if found else {}


METRICS: dict[str, Callable[[Pair], JsonObject]] = {
    'fid': _fid,
    'kid': _kid,
    'inception_score': _inception_score,
    'precision_recall': _precision_recall,
    'density_coverage': _density_coverage,
    'fid_per_class': _fid_per_class,
}
# The smallest numbers of generated and of reference images that a metric needs; 1 and 1 for metrics that are not listed.
FEWEST_IMAGES: dict[str, tuple[int, int]] = {
    'fid': (2, 2),  # covariances
    'kid': (2, 2),  # pairs of images
    'inception_score': (INCEPTION_SCORE_SPLITS, 1),
    'precision_recall': (MANIFOLD_NEIGHBOURS + 1, MANIFOLD_NEIGHBOURS + 1),
    'density_coverage': (1, COVERAGE_NEIGHBOURS + 1),
}


def require_enough(metrics: Sequence[str], count: int, where: str, *, is_reference: bool = False) -> None:
    """Refuse a set that has too few images for a metric.

    Args:
      metrics: keys of ``METRICS``.
      count: number of images in the set.
      where: name of the set, or of the option that limits its size, for messages.
      is_reference: whether the set is the reference.

    Raises:
      UserError: if a metric needs more images; the message names the first one.
    """
    for name in metrics:
        fewest = FEWEST_IMAGES.get(name, (1, 1))[is_reference]
        images = '1 image' if count == 1 else f'{count} images'
        check(
            count >= fewest,
            f'{where} gives {images}, but {name} needs at least {fewest}: take more images, or another metric',
        )


def parameters(*counts: int, metrics: Sequence[str] = ()) -> JsonObject:
    """Return the settings of the metrics, for the protocol.

    For precision and recall of sets with more than ``MANIFOLD_IMAGES`` images, earlier versions used the first images, and
    their protocols have no ``manifold_subset_seed``. The protocols of smaller sets have not changed.

    Args:
      counts: numbers of images in the sets.
      metrics: keys of ``METRICS``; those in ``OWN_PARAMETERS`` add their own settings.
    """
    found: JsonObject = {**PARAMETERS}
    for metric in metrics:
        found |= OWN_PARAMETERS.get(metric, {})
    if max(counts) > MANIFOLD_IMAGES:
        found['manifold_subset_seed'] = SUBSET_SEED
    return found
