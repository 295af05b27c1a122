"""Images for the page of a comparison: samples of each model, and their nearest training images."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from etils import epath

from jaxgen.apps.evaluate.generated import requested_labels
from jaxgen.apps.trained import Trained
from jaxgen.data.dataset import Images
from jaxgen.io.files import is_remote, read_npz, write_atomically
from jaxgen.io.images import npz
from jaxgen.metrics.evaluator import Evaluator
from jaxgen.training.sampling import SamplePipeline

SCRUTINISED = 200  # images among which the best are selected
CHUNK = 5000  # training images that are compared at once


class PageImages(NamedTuple):
    """The first images of an evaluation.

    Attributes:
      images: the images, uint8 ``[SCRUTINISED, H, W, C]``.
      rate: the sampling rate in images/sec after compilation.
      order: indices of the images by the confidence of the classifier, the most confident first.
    """

    images: np.ndarray
    rate: float
    order: np.ndarray


def page_images(trained: Trained, sampler: SamplePipeline, evaluator: Evaluator, stored: epath.Path) -> PageImages:
    """Return the first images of a model, from the file that an earlier comparison wrote if there is one.

    Args:
      trained: the model.
      sampler: samples the images of the evaluation.
      evaluator: ranks the images by the confidence of its classifier.
      stored: the file, whose name identifies the model and the protocol.
    """
    arrays = None if is_remote(stored) else read_npz(pathlib.Path(stored))
    if arrays is not None and arrays.keys() == set(PageImages._fields):
        images, order = arrays['images'], arrays['order']
        if images.shape == (SCRUTINISED, *trained.method.image_shape) and sorted(order) == list(range(SCRUTINISED)):
            return PageImages(images, float(arrays['rate']), order)
    images, rate = _sample(sampler, trained)
    order = evaluator.best(images, requested_labels(trained, sampler, len(images)), trained.class_names)
    write_atomically(stored, npz(images=images, rate=np.array(rate), order=order))
    return PageImages(images, rate, order)


def _sample(sampler: SamplePipeline, trained: Trained) -> tuple[np.ndarray, float]:
    """Return the first ``SCRUTINISED`` images of the evaluation, and the sampling rate in images/sec after compilation."""
    for _ in sampler.batches(trained.model, 1):
        pass
    start = time.perf_counter()
    images, _ = sampler(trained.model, SCRUTINISED)
    whole_batches = -(-SCRUTINISED // trained.config.sample.batch_size) * trained.config.sample.batch_size
    return images, whole_batches / (time.perf_counter() - start)


def nearest(
    images: np.ndarray, others: Images, progress: Callable[[int], None] = lambda count: None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest of other images or of their mirror images, for each image.

    Args:
      images: uint8 ``[N, H, W, C]``.
      others: uint8 ``[M, H, W, C]``.
      progress: called with the number of other images done.

    Returns:
      The index of the nearest of ``others``, int ``[N]``, and its Euclidean distance for pixels in [0, 1], float ``[N]``.
    """
    queries = [one.reshape(len(one), -1).astype(np.float32) / 255 for one in (images, images[:, :, ::-1])]
    lengths = (queries[0] ** 2).sum(1)[:, None]
    best, index = np.full(len(images), np.inf), np.zeros(len(images), int)
    for start in range(0, len(others), CHUNK):
        part = others[start : start + CHUNK]
        b = part.reshape(len(part), -1).astype(np.float32) / 255
        for a in queries:  # mirroring both images of a pair does not change their distance
            squares = lengths + (b**2).sum(1) - 2 * a @ b.T
            at = squares.argmin(1)
            found = squares[np.arange(len(a)), at]
            index = np.where(found < best, at + start, index)
            best = np.minimum(found, best)
        progress(start + len(part))
    return index, np.sqrt(np.maximum(best, 0))
