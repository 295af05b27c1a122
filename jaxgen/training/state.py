"""The state of a training run between two steps."""

from __future__ import annotations

import math
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxgen.errors import check
from jaxgen.methods.base import Method
from jaxgen.runtime.mesh import state_shardings
from jaxgen.runtime.random import stream
from jaxgen.types import Array, PyTree, Struct

LARGEST = 2**42  # bytes of a state on all devices together: 4 TiB


@flax.struct.dataclass
class TrainState(Struct):
    """The complete state of a run between two steps: restored from it, a run continues as if it had never stopped.

    Attributes:
      step: number of updates made so far, int32.
      model: pytree of the method: parameters, moving averages, state of the optimizer.
      sums: each metric summed over the steps since the last line of the log, which reports their mean.
      count: number of steps in ``sums``, int32.
      nonfinite_step: the first step with a metric that was not finite, or -1, int32.
    """

    step: Array
    model: PyTree
    sums: dict[str, Array]
    count: Array
    nonfinite_step: Array


def start_state(method: Method, model: PyTree) -> TrainState:
    """Return the state at step 0 of a run that starts from a model.

    Args:
      method: the method, whose metrics are summed.
      model: the part of the model that a checkpoint stores.
    """
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        model=model,
        sums={name: jnp.zeros(()) for name in method.metrics},
        count=jnp.zeros((), jnp.int32),
        nonfinite_step=-jnp.ones((), jnp.int32),
    )


def initializer(method: Method, key: Array) -> Callable[..., TrainState]:
    """Return the function ``init(weights=None)`` that makes the state at step 0, with given weights or random ones.

    JAX traces one function object once, so use the same object for the shapes (:func:`state_template`) and for the values
    (:func:`initial_state`).

    Args:
      method: the method to train.
      key: the root key of the run.
    """

    def init(weights: dict[str, PyTree] | None = None) -> TrainState:
        init_key = stream(key, 'init')
        return start_state(method, method.init(init_key) if weights is None else method.from_weights(weights, init_key))

    return init


def state_template(init: Callable[..., TrainState], mesh: Mesh) -> TrainState:
    """Return shapes, dtypes and shardings of the state that ``init`` makes, without computing it.

    Raises:
      UserError: if the state is larger than all memory.
    """
    shapes = jax.eval_shape(init)
    size = 4 * sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))
    check(
        size <= LARGEST,
        f'the network takes {size / 2**40:,.1f} TiB with its moving averages and its optimizer, which is more than the limit of '
        f'{LARGEST // 2**40} TiB: choose fewer channels or blocks',
    )
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        state_shardings(mesh, shapes),
    )


def initial_state(
    init: Callable[..., TrainState], template: TrainState, weights: dict[str, PyTree] | None = None
) -> TrainState:
    """Return the state that ``init`` makes, from ``weights`` if given, with the shardings of ``template``."""
    make = jax.jit(init, out_shardings=jax.tree.map(lambda x: x.sharding, template))
    return make() if weights is None else make(weights)


def start_on_mesh(method: Method, key: Array, mesh: Mesh) -> tuple[TrainState, TrainState]:
    """Return the shapes (see ``state_template``) and the values of the state at step 0."""
    init = initializer(method, key)
    template = state_template(init, mesh)
    return template, initial_state(init, template)


def shapes_of(state: PyTree) -> PyTree:
    """Return shapes, dtypes and shardings of arrays on devices."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
