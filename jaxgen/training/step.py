"""The train state and the one compiled function that advances it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxgen.methods.base import Method
from jaxgen.runtime.mesh import batch_sharding, replicated, state_shardings
from jaxgen.runtime.random import stream

Array = jax.Array


@flax.struct.dataclass
class TrainState:
    """All that a run is, between two steps: restored from a checkpoint, it goes on as if it had never stopped.

    Attributes:
      step: number of updates made, int32.
      model: the method's pytree.
      sums: each metric summed since the last row of the log, so that a row is a mean over all its steps.
      count: the number of steps in ``sums``.
      nonfinite_step: the first step with a metric that was not finite, or -1.
    """

    step: Array
    model: Any
    sums: dict[str, Array]
    count: Array
    nonfinite_step: Array


def prepare(batch: dict[str, Array], key: Array, random_flip: bool) -> dict[str, Array]:
    """What the network sees of stored images: uint8 to [-1, 1], mirrored with probability 1/2 if asked for."""
    images = batch['image'].astype(jnp.float32) / 127.5 - 1.0
    if random_flip:
        mirrored = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    return {**batch, 'image': images}


def step_keys(key: Array, step: Array) -> Array:
    """The keys of ``prepare`` and of the method's step, of the step from ``step`` to ``step + 1``."""
    return jax.random.split(jax.random.fold_in(stream(key, 'train'), step))


def initial(method: Method, key: Array) -> Callable[[], TrainState]:
    """The function that makes the state at step 0: one object for its shapes and its values, so that JAX traces it once."""
    return lambda: start_state(method, method.init(stream(key, 'init')))


def start_state(method: Method, model: Any) -> TrainState:
    """The state at step 0 of a run that starts from this model, as a checkpoint holds it (``Method.trainable``)."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        model=model,
        sums={name: jnp.zeros(()) for name in method.metrics},
        count=jnp.zeros((), jnp.int32),
        nonfinite_step=-jnp.ones((), jnp.int32),
    )


def state_template(init: Callable[[], TrainState], mesh: Mesh) -> TrainState:
    """Shapes, dtypes and shardings of the state that ``init`` makes, as a checkpoint holds it, without computing it."""
    shapes = jax.eval_shape(init)
    return jax.tree.map(
        lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, state_shardings(mesh, shapes)
    )


def train_step(method: Method, key: Array, random_flip: bool, state: TrainState, batch: dict[str, Array]) -> TrainState:
    """One step on a batch of stored images; a pure function of (key, state, batch)."""
    flip_key, step_key = step_keys(key, state.step)
    model, metrics = method.step(state.model, prepare(batch, flip_key, random_flip), step_key)
    finite = jnp.all(jnp.stack([jnp.isfinite(m) for m in metrics.values()]))
    first_bad = (state.nonfinite_step < 0) & ~finite
    return TrainState(
        step=state.step + 1,
        model=model,
        sums=jax.tree.map(lambda total, m: total + m.astype(total.dtype), state.sums, metrics),
        count=state.count + 1,
        nonfinite_step=jnp.where(first_bad, state.step + 1, state.nonfinite_step),
    )


def make_dispatch(
    method: Method, key: Array, random_flip: bool, mesh: Mesh, state: Any, resident: bool = False
) -> Callable:
    """Return the compiled function ``(state, batches) -> (state, done)``: one step for each of K batches on the mesh.

    The state's buffers are donated; ``done`` is a scalar of its own to wait for.

    Args:
      state: the train state, or its shapes.
      resident: whether the function is ``(state, batches, dataset) -> (state, done)`` instead, where ``batches`` holds only
        ``{'index': int32 [K, B]}``, the examples of each batch, and ``dataset`` all images and labels on every device.
        Otherwise ``batches`` is ``{'image': uint8 [K, B, H, W, C], 'label': int32 [K, B]}``.
    """

    def dispatch(state, batches, *dataset):
        def one(state, batch):
            if resident:
                batch = _gathered(dataset[0], batch['index'], mesh)
            return train_step(method, key, random_flip, state, batch), None

        if len(jax.tree.leaves(batches)[0]) == 1:
            state, _ = one(state, jax.tree.map(lambda x: x[0], batches))
        else:
            state, _ = jax.lax.scan(one, state, batches)
        return state, state.step + 0

    shardings = state_shardings(mesh, state)
    of_dataset = (replicated(mesh),) if resident else ()
    return jax.jit(
        dispatch,
        in_shardings=(shardings, batch_sharding(mesh, axis=1), *of_dataset),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
    )


def _gathered(dataset: dict[str, Array], index: Array, mesh: Mesh) -> dict[str, Array]:
    """Return the examples of a batch; each device takes its own from its copy of the data set."""
    batch = {name: x[index] for name, x in dataset.items()}
    return jax.lax.with_sharding_constraint(batch, batch_sharding(mesh))
