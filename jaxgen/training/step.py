"""The compiled function that advances the train state."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxgen.io.images import from_uint8
from jaxgen.methods.base import Method
from jaxgen.runtime.mesh import batch_sharding, replicated, state_shardings
from jaxgen.runtime.random import stream
from jaxgen.training.state import TrainState
from jaxgen.types import Array, PyTree


def prepare_batch(batch: dict[str, Array], key: Array, random_flip: bool) -> dict[str, Array]:
    """Return a batch of stored images in the form that the network takes.

    Args:
      batch: ``{'image': uint8 [B, H, W, C], 'label': int32 [B]}``.
      key: random key that decides which images are mirrored.
      random_flip: whether to mirror each image with probability 1/2.

    Returns:
      The same batch with float32 images in [-1, 1].
    """
    images = from_uint8(batch['image'])
    if random_flip:
        mirrored = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    return {**batch, 'image': images}


def step_keys(key: Array, step: Array) -> Array:
    """Return the two keys of the step from ``step`` to ``step + 1``: for ``prepare_batch``, and for the method.

    Args:
      key: the root key of the run.
      step: number of updates made before this one.
    """
    return jax.random.split(jax.random.fold_in(stream(key, 'train'), step))


def train_step(method: Method, key: Array, random_flip: bool, state: TrainState, batch: dict[str, Array]) -> TrainState:
    """Return the state after one step on a batch of stored images: a pure function of (key, state, batch).

    Args:
      method: the method to train.
      key: the root key of the run.
      random_flip: see ``prepare_batch``.
      state: the state before the step.
      batch: the stored images, see ``prepare_batch``.
    """
    flip_key, step_key = step_keys(key, state.step)
    model, metrics = method.step(state.model, prepare_batch(batch, flip_key, random_flip), step_key)
    finite = jnp.all(jnp.stack([jnp.isfinite(m) for m in metrics.values()]))
    first_nonfinite = (state.nonfinite_step < 0) & ~finite
    return TrainState(
        step=state.step + 1,
        model=model,
        sums=jax.tree.map(lambda total, m: total + m.astype(total.dtype), state.sums, metrics),
        count=state.count + 1,
        nonfinite_step=jnp.where(first_nonfinite, state.step + 1, state.nonfinite_step),
    )


def make_dispatch(
    method: Method, key: Array, mesh: Mesh, state: PyTree, *, random_flip: bool = False, resident: bool = False
) -> jax.stages.Wrapped:
    """Return the jitted function ``(state, batches) -> (state, done)``: one step for each of K batches on the mesh.

    The buffers of the state are donated. ``done`` is a separate scalar on which the caller can wait.

    Args:
      method: the method to train.
      key: the root key of the run.
      mesh: the devices.
      state: the train state, or its shapes.
      random_flip: see ``prepare_batch``.
      resident: whether the data set is kept on the devices. If not, ``batches`` is ``{'image': uint8 [K, B, H, W, C], 'label':
        int32 [K, B]}``. If so, the function is ``(state, batches, dataset) -> (state, done)``: ``batches`` is ``{'index':
        int32 [K, B]}``, the examples of each batch, and ``dataset`` holds all images and labels on every device.
    """

    def dispatch(state, batches, *dataset):
        def one_step(state, batch):
            if resident:
                batch = _gather(dataset[0], batch['index'], mesh)
            return train_step(method, key, random_flip, state, batch), None

        if len(jax.tree.leaves(batches)[0]) == 1:
            state, _ = one_step(state, jax.tree.map(lambda x: x[0], batches))
        else:
            state, _ = jax.lax.scan(one_step, state, batches)
        return state, state.step + 0

    shardings = state_shardings(mesh, state)
    dataset_shardings = (replicated(mesh),) if resident else ()
    return jax.jit(
        dispatch,
        in_shardings=(shardings, batch_sharding(mesh, axis=1), *dataset_shardings),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
    )


def _gather(dataset: dict[str, Array], index: Array, mesh: Mesh) -> dict[str, Array]:
    """Return the examples of a batch; each device takes its own from its copy of the data set."""
    batch = {name: x[index] for name, x in dataset.items()}
    return jax.lax.with_sharding_constraint(batch, batch_sharding(mesh))
