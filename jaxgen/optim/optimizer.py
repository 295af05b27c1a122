"""Optimizers: Adam, and SGD with Nesterov momentum."""

from __future__ import annotations

import jax
import optax

from jaxgen.optim.options import OptimizerOptions
from jaxgen.optim.schedules import learning_rate
from jaxgen.types import PyTree


def make_adam(options: OptimizerOptions) -> optax.GradientTransformation:
    """Return Adam (Kingma & Ba 2015), after clipping by the global norm if ``options.grad_clip_norm`` is set.

    Args:
      options: resolved, see ``learning_rate``.
    """
    return optax.chain(_clip(options), optax.adam(learning_rate(options), b1=options.beta1, b2=options.beta2))


def make_nesterov(options: OptimizerOptions, *, weight_decay: float, bias_scale: float) -> optax.GradientTransformation:
    """Return PyTorch's SGD with the Nesterov momentum ``beta1``, after clipping as in ``make_adam``.

    Args:
      options: resolved, see ``learning_rate``; ``beta1`` is the momentum.
      weight_decay: multiple of each parameter that is added to its gradient.
      bias_scale: learning rate of the parameters named bias, as a multiple of that of the others; their decay is the same.
    """

    def scale_biases(updates: PyTree, params: PyTree = None) -> PyTree:
        def scale(path: PyTree, gradient: PyTree) -> PyTree:
            return gradient * bias_scale if path[-1].key == 'bias' else gradient

        return jax.tree.map_with_path(scale, updates)

    return optax.chain(
        _clip(options),
        optax.stateless(scale_biases),
        optax.add_decayed_weights(weight_decay),
        optax.trace(options.beta1, nesterov=True),
        optax.scale_by_learning_rate(learning_rate(options)),
    )


def _clip(options: OptimizerOptions) -> optax.GradientTransformation:
    return optax.clip_by_global_norm(options.grad_clip_norm) if options.grad_clip_norm else optax.identity()
