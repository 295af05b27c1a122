"""Adam and Nesterov's momentum, learning rates, gradient accumulation, the exponential moving average and lookahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

Array = jax.Array

LOOKAHEAD_STEPS = 5


def resolved(config: ConfigDict) -> ConfigDict:
    """Return ``config.optimizer`` with the unset steps of the decay filled in.

    ``decay_steps`` becomes ``config.train.steps``, and ``cooldown_steps`` a fifth of ``decay_steps``.
    """
    optimizer = config.optimizer.copy_and_resolve_references()
    if optimizer.decay_steps is None:
        optimizer.decay_steps = config.train.steps
    if optimizer.cooldown_steps is None:
        optimizer.cooldown_steps = max(1, optimizer.decay_steps // 5)
    return optimizer


def learning_rate(config: ConfigDict) -> optax.Schedule:
    """Return the learning rate as a function of the number of updates made so far.

    It rises linearly from 0 to ``config.learning_rate`` over ``config.warmup_steps``, then follows ``config.decay``, one of
    ``DECAYS``. Only ``triangular`` has a warm-up of its own.

    Args:
      config: the section ``optimizer``, resolved.
    """
    decay = DECAYS[config.decay](config)
    if config.decay == 'triangular' or not config.warmup_steps:
        return decay

    def warmed_up(step: Array) -> Array:
        return jnp.minimum(step / config.warmup_steps, 1.0) * decay(step)

    return warmed_up


def _constant(config: ConfigDict) -> optax.Schedule:
    return optax.constant_schedule(config.learning_rate)


def _cosine(config: ConfigDict) -> optax.Schedule:
    """Half a cosine from ``learning_rate`` at ``warmup_steps`` to 0 at ``decay_steps`` (Loshchilov & Hutter 2017)."""
    fall = optax.cosine_decay_schedule(config.learning_rate, config.decay_steps - config.warmup_steps)
    return optax.join_schedules([_constant(config), fall], [config.warmup_steps])


def _linear(config: ConfigDict) -> optax.Schedule:
    """Constant, then linear to 0 over the ``cooldown_steps`` before ``decay_steps`` (Hägele et al. 2024)."""
    start = config.decay_steps - config.cooldown_steps
    fall = optax.linear_schedule(config.learning_rate, 0.0, config.cooldown_steps)
    return optax.join_schedules([_constant(config), fall], [start])


def _triangular(config: ConfigDict) -> optax.Schedule:
    """A fifth of ``learning_rate`` at step 0, all of it at ``warmup_steps``, 7% at ``decay_steps`` and after."""
    peak, top, end = config.learning_rate, config.warmup_steps, config.decay_steps
    fall = optax.linear_schedule(peak, 0.07 * peak, end - top)
    return optax.join_schedules([optax.linear_schedule(0.2 * peak, peak, top), fall], [top])


DECAYS: dict[str, Callable[[ConfigDict], optax.Schedule]] = {
    'none': _constant,
    'cosine': _cosine,
    'linear': _linear,
    'triangular': _triangular,
}


def make_optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """Return Adam after clipping by global norm; ``config.grad_clip_norm=0`` does not clip."""
    clip = optax.clip_by_global_norm(config.grad_clip_norm) if config.grad_clip_norm else optax.identity()
    return optax.chain(clip, optax.adam(learning_rate(config), b1=config.beta1))


def make_nesterov(config: ConfigDict) -> optax.GradientTransformation:
    """Return PyTorch's SGD with Nesterov's momentum ``beta1``, after clipping.

    ``weight_decay`` times the parameter joins each gradient. A parameter named bias learns ``bias_scale`` times as fast,
    and decays like the others.
    """
    clip = optax.clip_by_global_norm(config.grad_clip_norm) if config.grad_clip_norm else optax.identity()

    def scale(updates, params=None):
        return jax.tree.map_with_path(lambda p, g: g * config.bias_scale if p[-1].key == 'bias' else g, updates)

    return optax.chain(
        clip,
        optax.stateless(scale),
        optax.add_decayed_weights(config.weight_decay),
        optax.trace(config.beta1, nesterov=True),
        optax.scale_by_learning_rate(learning_rate(config)),
    )


def lookahead(slow: Any, fast: Any, step: Array, config: ConfigDict) -> tuple[Any, Any]:
    """The slow weights and the fast ones after the update that made ``step`` of them (Zhang et al. 2019).

    After every fifth update the slow weights come nearer, ``slow + (1 - d) (fast - slow)``, and the fast ones go on from
    there; d grows with the cube of the step from 0 to ``config.ema_decay ** 5`` at ``config.decay_steps``.
    """
    done = jnp.minimum(step / config.decay_steps, 1.0)
    d = config.ema_decay**LOOKAHEAD_STEPS * done**3
    due = step % LOOKAHEAD_STEPS == 0
    slow = jax.tree.map(lambda s, f: jnp.where(due, f + d.astype(f.dtype) * (s - f), s), slow, fast)
    return slow, jax.tree.map(lambda s, f: jnp.where(due, s, f), slow, fast)


def ema_update(ema: Any, params: Any, step: Array, decay: float) -> Any:
    """``ema + (1 - d) (params - ema)`` with d = min(decay, (1 + step) / (10 + step)), so that the start is forgotten."""
    d = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, p: e + (1 - d).astype(e.dtype) * (p - e), ema, params)


def value_and_grad(
    loss: Callable[[Any, Any, Array], Array], params: Any, examples: Any, key: Array, micro_batches: int
) -> tuple[Array, Any]:
    """Mean loss and gradient over ``examples`` ([B, ...] each), taken ``micro_batches`` pieces at a time.

    Rows i, i + n, i + 2n ... make micro-batch i of n, so that each device keeps the rows that it holds. ``key`` is for
    dropout; all other randomness belongs in ``examples``, and is then the same for any number of micro-batches.
    """
    grad = jax.value_and_grad(loss)
    if micro_batches == 1:
        return grad(params, examples, key)

    def add(total, piece):
        i, rows = piece
        return jax.tree.map(jnp.add, total, grad(params, rows, jax.random.fold_in(key, i))), None

    pieces = jax.tree.map(lambda x: x.reshape(-1, micro_batches, *x.shape[1:]).swapaxes(0, 1), examples)
    shapes = jax.eval_shape(grad, params, jax.tree.map(lambda x: x[0], pieces), key)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, _ = jax.lax.scan(add, zeros, (jnp.arange(micro_batches), pieces))
    return jax.tree.map(lambda x: x / micro_batches, total)
