"""Moving averages of parameters during training: the exponential moving average, and lookahead."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgen.types import Array, PyTree

LOOKAHEAD_STEPS = 5


def ema_update(ema: PyTree, params: PyTree, step: Array, decay: float | None) -> PyTree:
    """Return the moving average after an update: ``ema + (1 - d) (params - ema)``.

    ``d = min(decay, (1 + step) / (10 + step))`` is small at first, so that the average soon forgets the initial parameters.

    Args:
      ema: the moving average before the update.
      params: the parameters after the update.
      step: number of updates made before this one.
      decay: share of the average that each step keeps; with None, the average is equal to the parameters.
    """
    d = jnp.minimum(decay or 0.0, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, p: e + (1 - d).astype(e.dtype) * (p - e), ema, params)


def lookahead(
    slow: PyTree, fast: PyTree, step: Array, *, decay: float | None, decay_steps: int
) -> tuple[PyTree, PyTree]:
    """Return the slow and the fast weights after an update of the fast ones (Zhang et al. 2019).

    After every fifth update the slow weights become ``slow + (1 - d) (fast - slow)``, and the fast weights continue from
    there. ``d`` rises with the cube of the step from 0 to ``decay ** 5`` at ``decay_steps``.

    Args:
      slow: the slow weights before the update.
      fast: the fast weights after the update.
      step: number of updates made, including this one.
      decay: share of the slow weights that each step keeps in the end; with None, the slow weights become the fast weights.
      decay_steps: number of updates after which ``d`` is constant.
    """
    done = jnp.minimum(step / decay_steps, 1.0)
    d = (decay or 0.0) ** LOOKAHEAD_STEPS * done**3
    due = step % LOOKAHEAD_STEPS == 0
    slow = jax.tree.map(lambda s, f: jnp.where(due, f + d.astype(f.dtype) * (s - f), s), slow, fast)
    return slow, jax.tree.map(lambda s, f: jnp.where(due, s, f), slow, fast)
