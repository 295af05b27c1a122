"""Learning rates as functions of the number of updates made so far."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import optax

from jaxgen.optim.options import OptimizerOptions
from jaxgen.types import Array


def learning_rate(options: OptimizerOptions) -> optax.Schedule:
    """Return the learning rate as a function of the number of updates made so far.

    The learning rate rises linearly from 0 to ``options.learning_rate`` over ``options.warmup_steps``, then follows
    ``options.decay``, one of ``SCHEDULES``. Only ``triangular`` has its own warm-up.

    Args:
      options: resolved options, in which the steps of the decay are set (see ``OptimizerOptions.resolved``).
    """
    decay = SCHEDULES[options.decay](options)
    if options.decay == 'triangular' or not options.warmup_steps:
        return decay

    def warmed_up(step: Array) -> Array:
        return jnp.minimum(step / options.warmup_steps, 1.0) * decay(step)

    return warmed_up


def _constant(options: OptimizerOptions) -> optax.Schedule:
    return optax.constant_schedule(options.learning_rate)


def _cosine(options: OptimizerOptions) -> optax.Schedule:
    """Return half a cosine from the peak at ``warmup_steps`` to ``decay_to`` times the peak at ``decay_steps``.

    For ``decay_to=0`` it is the schedule of Loshchilov & Hutter 2017.
    """
    steps = _require_set(options.decay_steps) - options.warmup_steps
    fall = optax.cosine_decay_schedule(options.learning_rate, steps, alpha=options.decay_to)
    return optax.join_schedules([_constant(options), fall], [options.warmup_steps])


def _linear(options: OptimizerOptions) -> optax.Schedule:
    """Return a constant, then a linear fall to 0 over ``cooldown_steps`` until ``decay_steps`` (Hägele et al. 2024)."""
    cooldown_steps = _require_set(options.cooldown_steps)
    start = _require_set(options.decay_steps) - cooldown_steps
    fall = optax.linear_schedule(options.learning_rate, 0.0, cooldown_steps)
    return optax.join_schedules([_constant(options), fall], [start])


def _inverse_sqrt(options: OptimizerOptions) -> optax.Schedule:
    """Return the peak divided by sqrt(max(step / decay_start, 1)).

    Source: Karras et al. 2024 (Analyzing and Improving the Training Dynamics of Diffusion Models). With
    ``cooldown_steps``, it is also multiplied by a factor that falls linearly from 1 to 0 over these last steps.
    """
    start = _require_set(options.decay_start)
    cooldown = optax.constant_schedule(1.0)
    if options.cooldown_steps is not None:
        cooldown = _linear(dataclasses.replace(options, learning_rate=1.0))

    def fall(step: Array) -> Array:
        return options.learning_rate / jnp.sqrt(jnp.maximum(step / start, 1.0)) * cooldown(step)

    return fall


def _triangular(options: OptimizerOptions) -> optax.Schedule:
    """Return a rise from 20% of the peak to the peak at ``warmup_steps``, then a fall to 7% at ``decay_steps``."""
    peak, top, end = options.learning_rate, options.warmup_steps, _require_set(options.decay_steps)
    rise = optax.linear_schedule(0.2 * peak, peak, top)
    fall = optax.linear_schedule(peak, 0.07 * peak, end - top)
    return optax.join_schedules([rise, fall], [top])


def _require_set(steps: int | None) -> int:
    if steps is None:
        raise ValueError('the steps of the decay are not set: pass options.resolved(steps)')
    return steps


SCHEDULES: dict[str, Callable[[OptimizerOptions], optax.Schedule]] = {
    'none': _constant,
    'cosine': _cosine,
    'linear': _linear,
    'inverse_sqrt': _inverse_sqrt,
    'triangular': _triangular,
}
