"""Metrics of images, one function each.

Every function runs the Inception network on its own. To compute several metrics of the same images, or to evaluate many sets
against one reference, make one ``jaxgen.metrics.evaluator.Evaluator``.

Networks and readers of images are imported when the first metric is computed, so that importing this module is fast.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from jaxgen.errors import check
from jaxgen.types import JsonObject

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jaxgen.metrics.features import Features
    from jaxgen.metrics.image_sets import ImageSet


class KernelInceptionDistance(NamedTuple):
    """A KID.

    Attributes:
      mean: the mean over random subsets.
      std: the standard deviation over random subsets; None, not estimated, if either set is as small as a subset.
    """

    mean: float
    std: float | None


class InceptionScore(NamedTuple):
    """An Inception Score.

    Attributes:
      mean: the mean over splits.
      std: the standard deviation over splits.
    """

    mean: float
    std: float


class PrecisionRecall(NamedTuple):
    """Precision and recall, both between 0 and 1.

    Attributes:
      precision: the share of images that lie in the manifold of the reference.
      recall: the share of the reference that lies in the manifold of the images.
    """

    precision: float
    recall: float


def fid(
    images: Shaped[np.ndarray, 'n h w *channels'] | str | os.PathLike,
    reference: UInt8[np.ndarray, 'm h w c'] | str | os.PathLike,
    *,
    num: int | None = None,
    reference_num: int | None = None,
    inception_weights: str | os.PathLike | None = None,
    resize: str = 'tf1',
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> float:
    """Compute the Frechet Inception Distance (Heusel et al. 2017).

    ``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))`` with the means m and covariances C of the Inception features of both
    sets. Fewer than 2,048 images in a set bias it upwards; published results usually take 50,000.

    Args:
      images: generated images: an array, a folder of images, an ``.npz`` file, or a split of a data set such as
        ``cifar10:test``. An array has values 0 .. 255 and one or three channels.
      reference: real images, in any of these forms. The features of stored images are cached on disk.
      num: number of images to take, a fixed random choice. All if not set.
      reference_num: number of reference images to take, a fixed random choice. All if not set.
      inception_weights: a ``.pth`` file. If not set, the published weights, which are downloaded once.
      resize: how images become 299x299: ``tf1`` as in published results, or ``clean``, antialiased, as in clean-FID.
      batch_size: images in a batch. If not set, 8 a device on CPUs and 64 on others.
      mesh: the devices that run Inception; the default device if not set.

    Returns:
      The distance, at least 0; lower is better.

    Raises:
      UserError: if images cannot be read, are not uint8 or are too few, or the weights cannot be read or downloaded.

    Example:
      >>> images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8)
      >>> distance = jaxgen.metrics.fid(images, 'digits:test', reference_num=12)
    """
    sets = {'images': (images, num), 'reference': (reference, reference_num)}
    fake, real = _features(_open('fid', sets), inception_weights, resize, batch_size, mesh)
    return _compute('fid', fake, real)['fid']


def kid(
    images: Shaped[np.ndarray, 'n h w *channels'] | str | os.PathLike,
    reference: UInt8[np.ndarray, 'm h w c'] | str | os.PathLike,
    *,
    num: int | None = None,
    reference_num: int | None = None,
    inception_weights: str | os.PathLike | None = None,
    resize: str = 'tf1',
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> KernelInceptionDistance:
    """Compute the Kernel Inception Distance (Binkowski et al. 2018).

    The unbiased squared MMD of Inception features x, y of dimension d under the kernel ``(x y / d + 1)^3``: mean and standard
    deviation over 100 random subsets of 1,000 images. It is unbiased for any number of images.

    Args:
      images: generated images: an array, a folder of images, an ``.npz`` file, or a split of a data set such as
        ``cifar10:test``. An array has values 0 .. 255 and one or three channels.
      reference: real images, in any of these forms. The features of stored images are cached on disk.
      num: number of images to take, a fixed random choice. All if not set.
      reference_num: number of reference images to take, a fixed random choice. All if not set.
      inception_weights: a ``.pth`` file. If not set, the published weights, which are downloaded once.
      resize: how images become 299x299: ``tf1`` as in published results, or ``clean``, antialiased, as in clean-FID.
      batch_size: images in a batch. If not set, 8 a device on CPUs and 64 on others.
      mesh: the devices that run Inception; the default device if not set.

    Returns:
      (mean, std); lower is better, and the mean may be slightly negative. ``std`` is None, not estimated, if either set has
      no more images than a subset.

    Raises:
      UserError: if images cannot be read, are not uint8 or are too few, or the weights cannot be read or downloaded.

    Example:
      >>> images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8)
      >>> mean, std = jaxgen.metrics.kid(images, 'digits:test', reference_num=12)
    """
    sets = {'images': (images, num), 'reference': (reference, reference_num)}
    fake, real = _features(_open('kid', sets), inception_weights, resize, batch_size, mesh)
    found = _compute('kid', fake, real)
    return KernelInceptionDistance(found['kid'], found['kid_std'])


def inception_score(
    images: Shaped[np.ndarray, 'n h w *channels'] | str | os.PathLike,
    *,
    num: int | None = None,
    inception_weights: str | os.PathLike | None = None,
    resize: str = 'tf1',
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> InceptionScore:
    """Compute the Inception Score ``exp E_x KL(p(y|x) || p(y))`` (Salimans et al. 2016).

    p(y|x) are Inception's class probabilities of image x, and p(y) is their mean. The score is computed in ten splits of the
    images.

    Args:
      images: generated images: an array, a folder of images, an ``.npz`` file, or a split of a data set such as
        ``cifar10:test``. An array has values 0 .. 255 and one or three channels.
      num: number of images to take, a fixed random choice. All if not set.
      inception_weights: a ``.pth`` file. If not set, the published weights, which are downloaded once.
      resize: how images become 299x299: ``tf1`` as in published results, or ``clean``, antialiased, as in clean-FID.
      batch_size: images in a batch. If not set, 8 a device on CPUs and 64 on others.
      mesh: the devices that run Inception; the default device if not set.

    Returns:
      (mean, std); higher is better.

    Raises:
      UserError: if images cannot be read, are not uint8 or are too few, or the weights cannot be read or downloaded.

    Example:
      >>> images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8)
      >>> mean, std = jaxgen.metrics.inception_score(images)
    """
    opened = _open('inception_score', {'images': (images, num)})
    (fake,) = _features(opened, inception_weights, resize, batch_size, mesh)
    check(fake.logits is not None, f'inception_weights={inception_weights} has no classifier, which the score needs')
    found = _compute('inception_score', fake, fake)
    return InceptionScore(found['inception_score'], found['inception_score_std'])


def precision_recall(
    images: Shaped[np.ndarray, 'n h w *channels'] | str | os.PathLike,
    reference: UInt8[np.ndarray, 'm h w c'] | str | os.PathLike,
    *,
    num: int | None = None,
    reference_num: int | None = None,
    inception_weights: str | os.PathLike | None = None,
    resize: str = 'tf1',
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> PrecisionRecall:
    """Compute improved precision and recall (Kynkaanniemi et al. 2019).

    The manifold of a set is the union of balls around the Inception features of its images, each of which reaches to the third
    nearest neighbour. Of larger sets 10,000 images are taken, a fixed random choice.

    Args:
      images: generated images: an array, a folder of images, an ``.npz`` file, or a split of a data set such as
        ``cifar10:test``. An array has values 0 .. 255 and one or three channels.
      reference: real images, in any of these forms. The features of stored images are cached on disk.
      num: number of images to take, a fixed random choice. All if not set.
      reference_num: number of reference images to take, a fixed random choice. All if not set.
      inception_weights: a ``.pth`` file. If not set, the published weights, which are downloaded once.
      resize: how images become 299x299: ``tf1`` as in published results, or ``clean``, antialiased, as in clean-FID.
      batch_size: images in a batch. If not set, 8 a device on CPUs and 64 on others.
      mesh: the devices that run Inception; the default device if not set.

    Returns:
      (precision, recall): the share of images inside the manifold of the reference, which measures quality, and the share of
      the reference inside the manifold of the images, which measures diversity; higher is better.

    Raises:
      UserError: if images cannot be read, are not uint8 or are too few, or the weights cannot be read or downloaded.

    Example:
      >>> images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8)
      >>> precision, recall = jaxgen.metrics.precision_recall(images, 'digits:test', reference_num=12)
    """
    sets = {'images': (images, num), 'reference': (reference, reference_num)}
    fake, real = _features(_open('precision_recall', sets), inception_weights, resize, batch_size, mesh)
    found = _compute('precision_recall', fake, real)
    return PrecisionRecall(found['precision'], found['recall'])


def _open(metric: str, sets: dict[str, tuple[Any, int | None]]) -> list[tuple[ImageSet, bool]]:
    """Open the sets of a metric, so that all are checked before any weights are downloaded.

    Args:
      metric: a key of ``METRICS``.
      sets: by the name of the argument, the images and how many of them to take; the reference is called ``reference``.

    Returns:
      Each set, and whether it is stored.

    Raises:
      UserError: if a set cannot be read, or has too few images for the metric.
    """
    from jaxgen.metrics.image_sets import from_array, open_set
    from jaxgen.metrics.registry import require_enough

    opened = []
    for argument, (images, num) in sets.items():
        is_stored, is_reference = isinstance(images, str | os.PathLike), argument == 'reference'
        image_set = open_set(os.fspath(images), argument, num) if is_stored else from_array(images, argument, num)
        for note in image_set.notes:
            warnings.warn(note, stacklevel=3)
        limit = f'{"reference_num" if is_reference else "num"}={num}'
        where = limit if image_set.count == num else argument
        require_enough([metric], image_set.count, where, is_reference=is_reference)
        opened.append((image_set, is_stored))
    return opened


def _features(
    opened: list[tuple[ImageSet, bool]],
    weights_path: str | os.PathLike | None,
    resize: str,
    batch_size: int | None,
    mesh: Mesh | None,
) -> list[Features]:
    """Return the Inception features of each set that ``_open`` returned."""
    from jaxgen.metrics.features import Extraction, inception_extractor, stored_features

    extractor = inception_extractor(weights_path, resize)
    extraction = Extraction([extractor], mesh, batch_size)
    found = []
    for image_set, is_stored in opened:
        if is_stored:
            found.append(stored_features(extraction, extractor.description, image_set))
        else:
            found += extraction(image_set.pieces())
    return found


def _compute(metric: str, fake: Features, real: Features) -> JsonObject:
    from jaxgen.metrics.registry import METRICS, Pair

    return METRICS[metric](Pair(fake, real))
