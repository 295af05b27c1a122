"""Open the sets of images that the public functions compare, and compute their features."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxgen.types import JsonObject

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jaxgen.metrics.features import Features
    from jaxgen.metrics.sets.image_sets import ImageSet


class Network(NamedTuple):
    """A choice of network: the arguments of ``jaxgen.metrics.features.make_extractor`` in the same order."""

    extractor: str
    inception_weights: str | os.PathLike | None
    dinov2_weights: str | os.PathLike | None
    resize: str


def open_sets(
    metric: str, sets: dict[str, tuple[np.ndarray | str | os.PathLike, int | None]]
) -> list[tuple[ImageSet, bool]]:
    """Open the sets of a metric, so that all are checked before any weights are downloaded.

    Args:
      metric: a key of ``METRICS``.
      sets: the images and the number of them to use, by the name of the argument of the public function, which is
        ``reference`` for reference images.

    Returns:
      Each set, and whether its images are stored on disk.

    Raises:
      UserError: if a set cannot be read, or has too few images for the metric.
    """
    from jaxgen.metrics.registry import require_enough
    from jaxgen.metrics.sets.image_sets import from_array, open_set

    opened = []
    for argument, (images, num) in sets.items():
        is_reference = argument == 'reference'
        if isinstance(images, str | os.PathLike):
            image_set, is_stored = open_set(os.fspath(images), argument, num), True
        else:
            image_set, is_stored = from_array(images, argument, num), False
        for note in image_set.notes:
            warnings.warn(note, stacklevel=3)
        limit = f'{"reference_num" if is_reference else "num"}={num}'
        where = limit if image_set.count == num else argument
        require_enough([metric], image_set.count, where, is_reference=is_reference)
        opened.append((image_set, is_stored))
    return opened


def features_of(
    opened: list[tuple[ImageSet, bool]], network: Network, batch_size: int | None, mesh: Mesh | None
) -> list[Features]:
    """Return the features of each set from ``open_sets``; features of stored sets are read from the cache if possible."""
    from jaxgen.metrics.features import Extraction, make_extractor, stored_features

    extractor = make_extractor(*network)
    extraction = Extraction([extractor], mesh, batch_size)
    found = []
    for image_set, is_stored in opened:
        if is_stored:
            found.append(stored_features(extraction, extractor.description, image_set))
        else:
            found += extraction(image_set.pieces())
    return found


def compute(metric: str, fake: Features, real: Features) -> JsonObject:
    """Compute a metric of ``METRICS`` from the features of generated and of reference images."""
    from jaxgen.metrics.registry import METRICS, Pair

    return METRICS[metric](Pair(fake, real))
