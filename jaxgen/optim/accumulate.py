"""Compute the gradient of a batch in micro-batches, to save memory."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgen.types import Array, PyTree


def value_and_grad(
    loss: Callable[[PyTree, PyTree, Array], Array], params: PyTree, examples: PyTree, key: Array, micro_batches: int
) -> tuple[Array, PyTree]:
    """Return the mean loss of a batch and its gradient, computed one micro-batch at a time.

    Micro-batch i of n consists of the rows i, i + n, i + 2n ..., so that no rows move between devices.

    Args:
      loss: function ``loss(params, examples, key)`` that returns the mean loss of its examples.
      params: the parameters whose gradient is computed.
      examples: arrays ``[B, ...]``. They contain all random numbers but those of dropout, so that these do not depend on the
        number of micro-batches.
      key: random key of dropout.
      micro_batches: number of micro-batches; it divides B.
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
