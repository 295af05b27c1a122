"""The trainable state of a diffusion model."""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxgen.methods.diffusion.options import DiffusionOptimizerOptions
from jaxgen.optim import power_ema
from jaxgen.optim.ema import ema_update
from jaxgen.optim.optimizer import make_optimizer
from jaxgen.types import Array, PyTree, Struct


@flax.struct.dataclass
class DiffusionState(Struct):
    """The state of a diffusion model: everything that training changes.

    Attributes:
      params: parameters of the network and, under ``schedule``, of a learned schedule.
      ema: moving average of ``params``.
      opt_state: state of the optimizer.
      updates: number of updates made.
    """

    params: PyTree
    ema: PyTree
    opt_state: PyTree
    updates: Array


@flax.struct.dataclass
class DiffusionStateWithAverages(DiffusionState):
    """A state with power-function averages of the parameters, one for each of ``optimizer.ema_lengths``."""

    averages: tuple[PyTree, ...]


def initial_state(params: PyTree, optimizer: DiffusionOptimizerOptions) -> DiffusionState:
    """Return the state before the first update, with these parameters."""
    ema = jax.tree.map(jnp.copy, params)
    state = params, ema, make_optimizer(optimizer).init(params), jnp.zeros((), jnp.int32)
    if optimizer.ema_lengths is None:
        return DiffusionState(*state)
    return DiffusionStateWithAverages(*state, power_ema.start(params, optimizer.ema_lengths))


def averages_by_length(state: DiffusionState, optimizer: DiffusionOptimizerOptions) -> dict[float, PyTree]:
    """Return the power-function averages by their length; the dict is empty if the state has none."""
    if not isinstance(state, DiffusionStateWithAverages):
        return {}
    return dict(zip(optimizer.ema_lengths or (), state.averages, strict=True))


def apply_gradients(
    state: DiffusionState, gradients: PyTree, optimizer: DiffusionOptimizerOptions
) -> tuple[PyTree, PyTree]:
    """Return the parameters and the state of the optimizer after one update."""
    updates, opt_state = make_optimizer(optimizer).update(gradients, state.opt_state, state.params)
    return optax.apply_updates(state.params, updates), opt_state


def next_state(
    state: DiffusionState, params: PyTree, opt_state: PyTree, optimizer: DiffusionOptimizerOptions
) -> DiffusionState:
    """Return the state after an update that led to these parameters, with all averages updated.

    Without ``ema_decay``, ``ema`` equals the parameters.
    """
    decay = 0.0 if optimizer.ema_decay is None else optimizer.ema_decay
    after = {
        'params': params,
        'ema': ema_update(state.ema, params, state.updates, decay),
        'opt_state': opt_state,
        'updates': state.updates + 1,
    }
    if isinstance(state, DiffusionStateWithAverages):
        after['averages'] = power_ema.update(state.averages, params, state.updates, optimizer.ema_lengths or ())
    return state.replace(**after)
