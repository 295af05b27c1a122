"""Metrics of images: one function for each metric.

Every call runs the network anew. To compute several metrics of the same images, or to evaluate many sets against one
reference, use a ``jaxgen.metrics.evaluator.Evaluator``.

Networks and readers of images are imported when the first metric is computed, so that importing this module is fast.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from jaxgen.errors import check
from jaxgen.metrics.api_sets import Network, compute, features_of, open_sets

if TYPE_CHECKING:
    from jax.sharding import Mesh


class KernelInceptionDistance(NamedTuple):
    """A Kernel Inception Distance.

    Attributes:
      mean: the mean over random subsets.
      std: the standard deviation over random subsets; None if either set has no more images than a subset.
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
    """A pair of precision and recall, both between 0 and 1.

    Attributes:
      precision: the share of generated images that lie in the manifold of the reference.
      recall: the share of reference images that lie in the manifold of the generated images.
    """

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """A pair of density and coverage.

    Attributes:
      density: the mean number of balls around reference images that a generated image lies in, divided by 5; at least 0.
      coverage: the share of the balls around reference images that contain a generated image, between 0 and 1.
    """

    density: float
    coverage: float


def fid(
    images: Shaped[np.ndarray, 'n h w *channels'] | str | os.PathLike,
    reference: UInt8[np.ndarray, 'm h w c'] | str | os.PathLike,
    *,
    num: int | None = None,
    reference_num: int | None = None,
    extractor: str = 'inception',
    inception_weights: str | os.PathLike | None = None,
    dinov2_weights: str | os.PathLike | None = None,
    resize: str = 'tf1',
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> float:
    """Compute the Frechet Inception Distance (Heusel et al. 2017), or FD-DINOv2 (Stein et al. 2023).

    ``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))`` with the means m and covariances C of the features of both sets:
    those of Inception for FID, and those of DINOv2 ViT-L/14 for FD-DINOv2 (``extractor='dinov2'``). The two distances cannot be
    compared with each other. Both are biased upwards if a set has fewer than 2,048 images; published results usually use 50,000.

    Args:
      images: generated images: an array, a folder of images, an ``.npz`` file, or a split of a data set such as
        ``cifar10:test``. An array has values 0 .. 255 and one or three channels.
      reference: real images, in any of these forms. The features of stored images are cached on disk.
      num: number of images to use, chosen at random with a fixed seed; all if not set.
      reference_num: number of reference images to use, chosen at random with a fixed seed; all if not set.
      extractor: network whose features are compared: ``inception``, ``dinov2`` (ViT-L/14) or ``dinov2_base`` (ViT-B/14).
      inception_weights: a ``.pth`` file. If not set, the published weights, which are downloaded once.
      dinov2_weights: a ``.safetensors`` file. If not set, the published weights, which are downloaded once.
      resize: how images are resized to 299x299 for Inception: ``tf1`` as in published results, or ``clean`` as in clean-FID.
      batch_size: images per batch. If not set, 8 per device on CPUs and 64 per device on GPUs and TPUs.
      mesh: the devices that run the network; the default device if not set.

    Returns:
      The distance, at least 0; lower is better.

    Raises:
      UserError: if images cannot be read, are not uint8 or are too few, or the weights cannot be read or downloaded.

    Example:
      >>> images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8)
      >>> distance = jaxgen.metrics.fid(images, 'digits:test', reference_num=12)
    """
    sets = {'images': (images, num), 'reference': (reference, reference_num)}
    network = Network(extractor, inception_weights, dinov2_weights, resize)
    fake, real = features_of(open_sets('fid', sets), network, batch_size, mesh)
    return compute('fid', fake, real)['fid']


def kid(
    images: Shaped[np.ndarray, 'n h w *channels'] | str | os.PathLike,
    reference: UInt8[np.ndarray, 'm h w c'] | str | os.PathLike,
    *,
    num: int | None = None,
    reference_num: int | None = None,
    extractor: str = 'inception',
    inception_weights: str | os.PathLike | None = None,
    dinov2_weights: str | os.PathLike | None = None,
    resize: str = 'tf1',
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> KernelInceptionDistance:
    """Compute the Kernel Inception Distance (Binkowski et al. 2018).

    KID is the unbiased squared MMD of the features of both sets under the kernel ``k(x, y) = (x y / d + 1)^3``, where d is the
    number of features. Its mean and standard deviation are taken over 100 random subsets of 1,000 images. The mean is unbiased
    for any number of images.

    Args:
      images: generated images: an array, a folder of images, an ``.npz`` file, or a split of a data set such as
        ``cifar10:test``. An array has values 0 .. 255 and one or three channels.
      reference: real images, in any of these forms. The features of stored images are cached on disk.
      num: number of images to use, chosen at random with a fixed seed; all if not set.
      reference_num: number of reference images to use, chosen at random with a fixed seed; all if not set.
      extractor: network whose features are compared: ``inception``, ``dinov2`` (ViT-L/14) or ``dinov2_base`` (ViT-B/14).
      inception_weights: a ``.pth`` file. If not set, the published weights, which are downloaded once.
      dinov2_weights: a ``.safetensors`` file. If not set, the published weights, which are downloaded once.
      resize: how images are resized to 299x299 for Inception: ``tf1`` as in published results, or ``clean`` as in clean-FID.
      batch_size: images per batch. If not set, 8 per device on CPUs and 64 per device on GPUs and TPUs.
      mesh: the devices that run the network; the default device if not set.

    Returns:
      (mean, std); lower is better, and the mean may be slightly negative. ``std`` is None if either set has no more images
      than a subset.

    Raises:
      UserError: if images cannot be read, are not uint8 or are too few, or the weights cannot be read or downloaded.

    Example:
      >>> images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8)
      >>> mean, std = jaxgen.metrics.kid(images, 'digits:test', reference_num=12)
    """
    sets = {'images': (images, num), 'reference': (reference, reference_num)}
    network = Network(extractor, inception_weights, dinov2_weights, resize)
    fake, real = features_of(open_sets('kid', sets), network, batch_size, mesh)
    found = compute('kid', fake, real)
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

    p(y|x) are Inception's class probabilities of image x, and p(y) is their mean. The score is computed for each of ten splits
    of the images.

    Args:
      images: generated images: an array, a folder of images, an ``.npz`` file, or a split of a data set such as
        ``cifar10:test``. An array has values 0 .. 255 and one or three channels.
      num: number of images to use, chosen at random with a fixed seed; all if not set.
      inception_weights: a ``.pth`` file. If not set, the published weights, which are downloaded once.
      resize: how images are resized to 299x299: ``tf1`` as in published results, or ``clean`` as in clean-FID.
      batch_size: images per batch. If not set, 8 per device on CPUs and 64 per device on GPUs and TPUs.
      mesh: the devices that run the network; the default device if not set.

    Returns:
      (mean, std); higher is better.

    Raises:
      UserError: if images cannot be read, are not uint8 or are too few, or the weights cannot be read or downloaded.

    Example:
      >>> images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8)
      >>> mean, std = jaxgen.metrics.inception_score(images)
    """
    opened = open_sets('inception_score', {'images': (images, num)})
    (fake,) = features_of(opened, Network('inception', inception_weights, None, resize), batch_size, mesh)
    check(fake.logits is not None, f'inception_weights={inception_weights} has no classifier, which the score needs')
    found = compute('inception_score', fake, fake)
    return InceptionScore(found['inception_score'], found['inception_score_std'])


def precision_recall(
    images: Shaped[np.ndarray, 'n h w *channels'] | str | os.PathLike,
    reference: UInt8[np.ndarray, 'm h w c'] | str | os.PathLike,
    *,
    num: int | None = None,
    reference_num: int | None = None,
    extractor: str = 'inception',
    inception_weights: str | os.PathLike | None = None,
    dinov2_weights: str | os.PathLike | None = None,
    resize: str = 'tf1',
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> PrecisionRecall:
    """Compute improved precision and recall (Kynkaanniemi et al. 2019).

    The manifold of a set is the union of balls around the features of its images; each ball reaches to the third nearest
    neighbour of its centre. From a set of more than 10,000 images, 10,000 are chosen at random with a fixed seed.

    Args:
      images: generated images: an array, a folder of images, an ``.npz`` file, or a split of a data set such as
        ``cifar10:test``. An array has values 0 .. 255 and one or three channels.
      reference: real images, in any of these forms. The features of stored images are cached on disk.
      num: number of images to use, chosen at random with a fixed seed; all if not set.
      reference_num: number of reference images to use, chosen at random with a fixed seed; all if not set.
      extractor: network whose features are compared: ``inception``, ``dinov2`` (ViT-L/14) or ``dinov2_base`` (ViT-B/14).
      inception_weights: a ``.pth`` file. If not set, the published weights, which are downloaded once.
      dinov2_weights: a ``.safetensors`` file. If not set, the published weights, which are downloaded once.
      resize: how images are resized to 299x299 for Inception: ``tf1`` as in published results, or ``clean`` as in clean-FID.
      batch_size: images per batch. If not set, 8 per device on CPUs and 64 per device on GPUs and TPUs.
      mesh: the devices that run the network; the default device if not set.

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
    network = Network(extractor, inception_weights, dinov2_weights, resize)
    fake, real = features_of(open_sets('precision_recall', sets), network, batch_size, mesh)
    found = compute('precision_recall', fake, real)
    return PrecisionRecall(found['precision'], found['recall'])


def density_coverage(
    images: Shaped[np.ndarray, 'n h w *channels'] | str | os.PathLike,
    reference: UInt8[np.ndarray, 'm h w c'] | str | os.PathLike,
    *,
    num: int | None = None,
    reference_num: int | None = None,
    extractor: str = 'inception',
    inception_weights: str | os.PathLike | None = None,
    dinov2_weights: str | os.PathLike | None = None,
    resize: str = 'tf1',
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> DensityCoverage:
    """Compute density and coverage (Naeem et al. 2020).

    A ball around the features of each reference image reaches to its fifth nearest neighbour in the reference. A single outlier
    changes density and coverage less than precision and recall. From a set of more than 10,000 images, 10,000 are chosen at
    random with a fixed seed.

    Args:
      images: generated images: an array, a folder of images, an ``.npz`` file, or a split of a data set such as
        ``cifar10:test``. An array has values 0 .. 255 and one or three channels.
      reference: real images, in any of these forms. The features of stored images are cached on disk.
      num: number of images to use, chosen at random with a fixed seed; all if not set.
      reference_num: number of reference images to use, chosen at random with a fixed seed; all if not set.
      extractor: network whose features are compared: ``inception``, ``dinov2`` (ViT-L/14) or ``dinov2_base`` (ViT-B/14).
      inception_weights: a ``.pth`` file. If not set, the published weights, which are downloaded once.
      dinov2_weights: a ``.safetensors`` file. If not set, the published weights, which are downloaded once.
      resize: how images are resized to 299x299 for Inception: ``tf1`` as in published results, or ``clean`` as in clean-FID.
      batch_size: images per batch. If not set, 8 per device on CPUs and 64 per device on GPUs and TPUs.
      mesh: the devices that run the network; the default device if not set.

    Returns:
      (density, coverage); higher is better. Density measures quality: the mean number of balls that a generated image lies in,
      divided by 5; it is at least 0, and about 1 if both sets have the same distribution. Coverage measures diversity: the
      share of the balls that contain a generated image, between 0 and 1.

    Raises:
      UserError: if images cannot be read, are not uint8 or are too few, or the weights cannot be read or downloaded.

    Example:
      >>> images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8)
      >>> density, coverage = jaxgen.metrics.density_coverage(images, 'digits:test', reference_num=12)
    """
    sets = {'images': (images, num), 'reference': (reference, reference_num)}
    network = Network(extractor, inception_weights, dinov2_weights, resize)
    fake, real = features_of(open_sets('density_coverage', sets), network, batch_size, mesh)
    found = compute('density_coverage', fake, real)
    return DensityCoverage(found['density'], found['coverage'])
