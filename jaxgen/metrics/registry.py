"""The figures of a pair of sets, by name: each a function of features alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgen.metrics import scores
from jaxgen.metrics.features import Features

FEWEST_OF_A_CLASS = 100
MANIFOLD = 10_000  # images of each set that span the manifolds of precision and recall
SUBSETS, SUBSET_SIZE = 100, 1000  # of kernel distances
SPLITS = 10  # of the Inception Score
NEIGHBOURS = 3  # the manifold reaches from each image to this nearest one
# For the protocol: what else decides a figure.
PARAMETERS = {
    'kid_subsets': SUBSETS,
    'kid_subset_size': SUBSET_SIZE,
    'inception_score_splits': SPLITS,
    'manifold_images': MANIFOLD,
    'manifold_neighbours': NEIGHBOURS,
}


@dataclasses.dataclass(frozen=True)
class Pair:
    """Features and labels (or None) of both sets; ``class_names`` is empty where the labels mean different things."""

    fake: Features
    real: Features
    fake_labels: np.ndarray | None
    real_labels: np.ndarray | None
    class_names: tuple[str, ...]


def _fid(pair: Pair) -> dict[str, Any]:
    fake, real = pair.fake.features, pair.real.features
    if 2 * min(len(fake), len(real)) < fake.shape[1]:
        return {'fid': scores.frechet_distance_of_few(fake, real)}
    return {'fid': scores.frechet_distance(scores.Moments.streamed(fake), scores.Moments.streamed(real))}


def _kid(pair: Pair) -> dict[str, Any]:
    mean, std = scores.kernel_distance(pair.fake.features, pair.real.features, SUBSETS, SUBSET_SIZE)
    return {'kid': mean, 'kid_std': std}


def _inception_score(pair: Pair) -> dict[str, Any]:
    if pair.fake.logits is None:  # weights without the classifier
        return {'inception_score': None, 'inception_score_std': None}
    mean, std = scores.inception_score(pair.fake.logits, SPLITS)
    return {'inception_score': mean, 'inception_score_std': std}


def _precision_recall(pair: Pair) -> dict[str, Any]:
    fake, real = (x.features[:MANIFOLD] for x in (pair.fake, pair.real))
    precision, recall = scores.precision_recall(fake, real, NEIGHBOURS)
    return {'precision': precision, 'recall': recall}


def _fid_per_class(pair: Pair) -> dict[str, Any]:
    """Of the classes with enough images in both sets."""
    found = {}
    for label, name in enumerate(pair.class_names):
        fake = pair.fake.features[pair.fake_labels == label]
        real = pair.real.features[pair.real_labels == label]
        if min(len(fake), len(real)) >= FEWEST_OF_A_CLASS:
            found[name] = scores.frechet_distance_of_few(fake, real)
    return {'fid_per_class': found} if found else {}


METRICS: dict[str, Callable[[Pair], dict[str, Any]]] = {
    'fid': _fid,
    'kid': _kid,
    'inception_score': _inception_score,
    'precision_recall': _precision_recall,
    'fid_per_class': _fid_per_class,
}
