"""Batches whose examples are a pure function of (seed, step), prepared by threads a few dispatches ahead of training."""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import time
from collections.abc import Callable, Iterator

import numpy as np

from jaxgen.data.dataset import Dataset, ImagesOnDisk

AHEAD = 3  # number of dispatches that are prepared before they are needed
THREADS = 2
CROP = 1  # random crops are seeded by (seed, step, CROP), and the order of the images by (seed, epoch)


def example_indices(seed: int, step: int, batch_size: int, num_examples: int) -> np.ndarray:
    """Return the indices of the examples in the batch of ``step``, int64 ``[batch_size]``.

    Batches are consecutive pieces of a sequence of epochs; each epoch is a permutation of all examples that depends on
    (seed, epoch). So every example comes once per epoch, even if the batch size does not divide the number of examples.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, places = np.divmod(positions, num_examples)
    return np.concatenate([_order(seed, int(e), num_examples)[places[epochs == e]] for e in np.unique(epochs)])


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(num_examples)


def batch(dataset: Dataset, seed: int, step: int, batch_size: int, part: slice = slice(None)) -> dict[str, np.ndarray]:
    """Return the batch of a step, or only the ``part`` of it that one process reads.

    Returns:
      ``{'image': uint8 [B, H, W, C], 'label': int32 [B]}``.
    """
    chosen = example_indices(seed, step, batch_size, len(dataset.images))[part]
    images = dataset.images
    if isinstance(images, ImagesOnDisk) and images.are_strips:
        places = np.random.default_rng([seed, step, CROP]).random(batch_size)[part]
        return {'image': images.cropped(chosen, places), 'label': dataset.labels[chosen]}
    return {'image': images[chosen], 'label': dataset.labels[chosen]}


def process_part(batch_size: int, index: int, count: int) -> slice:
    """Return the rows of the global batch that process ``index`` of ``count`` reads."""
    each = batch_size // count
    return slice(index * each, (index + 1) * each)


class Prefetcher:
    """An iterator over ``make(item)`` for each item, in order; threads compute the next results in advance.

    Attributes:
      waited: seconds that the consumer has waited so far.
    """

    def __init__(self, items: Iterator, make: Callable, ahead: int = AHEAD, threads: int = THREADS):
        self.waited = 0.0
        self._items, self._make = items, make
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, 'batches')
        self._made: collections.deque[concurrent.futures.Future] = collections.deque()
        for _ in range(ahead):
            self._start_next()

    def _start_next(self) -> None:
        for item in self._items:
            self._made.append(self._pool.submit(self._make, item))
            return

    def __iter__(self):
        return self

    def __next__(self):
        if not self._made:
            raise StopIteration
        start = time.perf_counter()
        value = self._made.popleft().result()
        self.waited += time.perf_counter() - start
        self._start_next()
        return value

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(cancel_futures=True)
