"""Batches: their examples are a pure function of (seed, step), and a thread prepares them one dispatch ahead."""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from jaxgen.data.dataset import Dataset


def example_indices(seed: int, step: int, batch_size: int, num_examples: int) -> np.ndarray:
    """Return the indices int64 ``[batch_size]`` of the examples that take training from ``step`` to ``step + 1``.

    Batches are consecutive pieces of a sequence of epochs; each epoch is a permutation of all examples that depends on
    (seed, epoch). So every example comes once an epoch, even if the batch size does not divide their number.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, places = np.divmod(positions, num_examples)
    return np.concatenate([_order(seed, int(e), num_examples)[places[epochs == e]] for e in np.unique(epochs)])


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(num_examples)


def batch(dataset: Dataset, seed: int, step: int, batch_size: int, part: slice = slice(None)) -> dict[str, np.ndarray]:
    """Return the batch of a step, or the ``part`` of it that one process reads.

    Returns:
      ``{'image': uint8 [B, H, W, C], 'label': int32 [B]}``.
    """
    chosen = example_indices(seed, step, batch_size, len(dataset.images))[part]
    return {'image': dataset.images[chosen], 'label': dataset.labels[chosen]}


def process_part(batch_size: int, index: int, count: int) -> slice:
    """Return the rows of the global batch that process ``index`` of ``count`` reads."""
    each = batch_size // count
    return slice(index * each, (index + 1) * each)


class Prefetcher:
    """An iterator over ``make(item)`` for each item, which a thread computes one item ahead.

    Attributes:
      waited: seconds that the consumer has waited so far.
    """

    def __init__(self, items: Iterator, make: Callable):
        self.waited = 0.0
        self._queue: queue.Queue = queue.Queue(maxsize=1)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(items, make), daemon=True)
        self._thread.start()

    def _work(self, items: Iterator, make: Callable) -> None:
        try:
            for item in items:
                if not self._put((make(item), None)):
                    return
            self._put((None, StopIteration()))
        except Exception as e:
            self._put((None, e))

    def _put(self, entry) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self):
        return self

    def __next__(self):
        start = time.perf_counter()
        value, error = self._queue.get()
        self.waited += time.perf_counter() - start
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        """Stop the thread."""
        self._stopped.set()
        self._thread.join()
