"""Learning rates as functions of the number of updates made so far."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import optax

from jaxgen.optim.options import OptimizerOptions
from jaxgen.types import Array


def learning_rate(options: OptimizerOptions) -> optax.Schedule:
    """Return the learning rate as a function of the number of updates made so far.

    It rises linearly from 0 to ``options.learning_rate`` over ``options.warmup_steps``, then follows ``options.decay``, one
    of ``SCHEDULES``. Only ``triangular`` has a warm-up of its own.

    Args:
      options: resolved, so that ``decay_steps`` and ``cooldown_steps`` are set (see ``OptimizerOptions.resolved``).
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
    """Return half a cosine from the peak at ``warmup_steps`` to ``decay_to`` of it at ``decay_steps``.

    It is the schedule of Loshchilov & Hutter 2017 for ``decay_to=0``.
    """
    steps = _set(options.decay_steps) - options.warmup_steps
    fall = optax.cosine_decay_schedule(options.learning_rate, steps, alpha=options.decay_to)
    return optax.join_schedules([_constant(options), fall], [options.warmup_steps])


def _linear(options: OptimizerOptions) -> optax.Schedule:
    """Return a constant, then a line to 0 over the ``cooldown_steps`` before ``decay_steps`` (Hägele et al. 2024)."""
    cooldown_steps = _set(options.cooldown_steps)
    start = _set(options.decay_steps) - cooldown_steps
    fall = optax.linear_schedule(options.learning_rate, 0.0, cooldown_steps)
    return optax.join_schedules([_constant(options), fall], [start])


def _triangular(options: OptimizerOptions) -> optax.Schedule:
    """Return a rise from 20% of the peak to the peak at ``warmup_steps``, then a fall to 7% at ``decay_steps``."""
    peak, top, end = options.learning_rate, options.warmup_steps, _set(options.decay_steps)
    rise = optax.linear_schedule(0.2 * peak, peak, top)
    fall = optax.linear_schedule(peak, 0.07 * peak, end - top)
    return optax.join_schedules([rise, fall], [top])


def _set(steps: int | None) -> int:
    if steps is None:
        raise ValueError('decay_steps and cooldown_steps are not set: pass options.resolved(steps)')
    return steps


SCHEDULES: dict[str, Callable[[OptimizerOptions], optax.Schedule]] = {
    'none': _constant,
    'cosine': _cosine,
    'linear': _linear,
    'triangular': _triangular,
}
