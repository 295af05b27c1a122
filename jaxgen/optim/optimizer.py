"""Optimizers: Adam, AdamW, Muon, and SGD with Nesterov momentum."""

from __future__ import annotations

from collections.abc import Callable

import jax
import optax

from jaxgen.optim.muon import MOMENTUM, orthogonalise
from jaxgen.optim.options import OptimizerOptions
from jaxgen.optim.schedules import learning_rate
from jaxgen.types import PyTree


def make_optimizer(options: OptimizerOptions) -> optax.GradientTransformation:
    """Make the optimizer ``options.name``, which first clips by the global norm if ``options.grad_clip_norm`` is set.

    Args:
      options: resolved options, see ``learning_rate``.
    """
    return optax.chain(_clip(options), OPTIMIZERS[options.name](options))


def _adam(options: OptimizerOptions) -> optax.GradientTransformation:
    """Return Adam (Kingma & Ba 2015)."""
    return optax.adam(learning_rate(options), b1=options.beta1, b2=options.beta2)


def _adamw(options: OptimizerOptions) -> optax.GradientTransformation:
    """Return AdamW (Loshchilov & Hutter 2019), whose weight decay is multiplied by the learning rate, as in PyTorch."""
    return optax.adamw(learning_rate(options), b1=options.beta1, b2=options.beta2, weight_decay=options.weight_decay)


def _muon(options: OptimizerOptions) -> optax.GradientTransformation:
    """Return Muon (Jordan et al. 2024) for kernels, and AdamW for all other parameters, all with Nesterov momentum.

    A kernel is treated as a matrix whose columns are its last axis, the outputs. The other parameters are biases, scales,
    embeddings, the kernels of grouped convolutions, and the factors of LoRA. The momentum is 0.95 for kernels, and ``beta1`` for
    the other parameters. The updates of kernels are scaled to the size of Adam's (Liu et al. 2025, section 2.2), so that the
    same learning rate suits all parameters.
    """
    rate = learning_rate(options)
    kernels = optax.chain(
        optax.trace(MOMENTUM, nesterov=True),
        optax.stateless(lambda updates, params: jax.tree.map(orthogonalise, updates)),
        optax.add_decayed_weights(options.weight_decay),
        optax.scale_by_learning_rate(rate),
    )
    others = optax.adamw(rate, options.beta1, options.beta2, weight_decay=options.weight_decay, nesterov=True)
    return optax.partition({'kernel': kernels, 'other': others}, _kinds)


def _kinds(params: PyTree) -> PyTree:
    """Return for each parameter 'kernel' or 'other'."""
    return jax.tree.map_with_path(
        lambda path, x: 'kernel' if path[-1].key == 'kernel' and x.ndim > 1 else 'other', params
    )


OPTIMIZERS: dict[str, Callable[[OptimizerOptions], optax.GradientTransformation]] = {
    'adam': _adam,
    'adamw': _adamw,
    'muon': _muon,
}


def make_nesterov(options: OptimizerOptions, *, weight_decay: float, bias_scale: float) -> optax.GradientTransformation:
    """Make SGD with Nesterov momentum as in PyTorch, which first clips as in ``make_optimizer``.

    Args:
      options: resolved options, see ``learning_rate``; ``beta1`` is the momentum.
      weight_decay: multiple of each parameter that is added to its gradient.
      bias_scale: factor of the gradients of the parameters named bias; it does not change their weight decay.
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
