"""The batches of a run, from the data set to the devices."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from jaxgen.data import Dataset, pipeline
from jaxgen.runtime.mesh import batch_sharding, replicated
from jaxgen.types import Array


def dispatches(start: int, end: int, steps_per_dispatch: int) -> Iterator[tuple[int, int]]:
    """Yield the first step of each dispatch and the step after its last.

    Dispatches end at multiples of ``steps_per_dispatch``, whatever step a run resumes at, so that a resumed run makes the
    same ones.
    """
    step = start
    while step < end:
        stop = min((step // steps_per_dispatch + 1) * steps_per_dispatch, end)
        yield step, stop
        step = stop


def stacked_batches(
    dataset: Dataset, seed: int, steps: range, batch_size: int, part: slice = slice(None)
) -> dict[str, np.ndarray]:
    """Return the batches of K steps: ``{'image': uint8 [K, B, H, W, C], 'label': int32 [K, B]}``.

    Args:
      dataset: the training images.
      seed: seed of the run.
      steps: the steps.
      batch_size: images in a batch over all devices and processes.
      part: the rows of each batch that this process needs.
    """
    batches = [pipeline.batch(dataset, seed, step, batch_size, part) for step in steps]
    return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}


def stacked_indices(
    num_examples: int, seed: int, steps: range, batch_size: int, part: slice = slice(None)
) -> dict[str, np.ndarray]:
    """Return the indices of the examples in the batches of K steps: ``{'index': int32 [K, B]}``."""
    indices = [pipeline.example_indices(seed, step, batch_size, num_examples)[part] for step in steps]
    return {'index': np.stack(indices).astype(np.int32)}


class BatchLoader:
    """A loader that puts the batches of a dispatch on the devices; each of several processes loads its own rows of a batch.

    Args:
      batch_size: images in a batch over all devices and processes.
      resident: whether the data set is kept on the devices, so that a batch only needs the indices of its examples.
    """

    def __init__(self, dataset: Dataset, mesh: Mesh, *, seed: int, batch_size: int, resident: bool):
        self._dataset, self._mesh = dataset, mesh
        self._seed, self._batch_size, self._resident = seed, batch_size, resident
        self._part = pipeline.process_part(batch_size, jax.process_index(), jax.process_count())

    def __call__(self, steps: tuple[int, int]) -> tuple[int, int, dict[str, Array]]:
        """Return the steps of a dispatch, and its batches in the form that ``step.make_dispatch`` describes."""
        sharding = batch_sharding(self._mesh, axis=1)
        batches = self._own_rows(range(*steps))
        return *steps, {name: jax.make_array_from_process_local_data(sharding, x) for name, x in batches.items()}

    def _own_rows(self, steps: range) -> dict[str, np.ndarray]:
        if self._resident:
            return stacked_indices(len(self._dataset.images), self._seed, steps, self._batch_size, self._part)
        return stacked_batches(self._dataset, self._seed, steps, self._batch_size, self._part)

    def resident_data(self) -> tuple[dict[str, Array], ...]:
        """Return the additional arguments of a dispatch: the data set, with a copy on each device, or none."""
        if not self._resident:
            return ()
        return (put_on_all_devices(self._dataset, self._mesh),)


def put_on_all_devices(dataset: Dataset, mesh: Mesh) -> dict[str, Array]:
    """Return the whole data set with a copy on each device."""
    arrays = {'image': np.asarray(dataset.images), 'label': dataset.labels}
    return {name: jax.make_array_from_process_local_data(replicated(mesh), x) for name, x in arrays.items()}
