"""Layers the networks share: initialisers, time embedding, normalisation, attention."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array


def uniform_fan_avg(scale: float = 1.0):
    """Variance-scaling uniform initialiser of Ho et al. 2020; ``scale=0`` means their 1e-10, a start at zero."""
    return nn.initializers.variance_scaling(scale or 1e-10, 'fan_avg', 'uniform')


def at_least_float32(dtype) -> jnp.dtype:
    """The dtype for norms, softmax and losses: float32, or float64 where the network computes in float64."""
    return jnp.promote_types(dtype, jnp.float32)


def timestep_embedding(t: Array, dim: int, dtype=jnp.float32) -> Array:
    """Sinusoidal embedding of Vaswani et al. 2017 as in Ho et al. 2020: ``[N] -> [N, dim]``, sines first, then cosines."""
    half = dim // 2
    frequencies = jnp.exp(-jnp.log(jnp.asarray(10000.0, dtype)) / (half - 1) * jnp.arange(half, dtype=dtype))
    angles = t.astype(dtype)[:, None] * frequencies[None, :]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


class GroupNorm(nn.Module):
    """Group normalisation (epsilon 1e-6) computed in float32 or better; returns the input's dtype."""

    groups: int
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        norm = nn.GroupNorm(
            self.groups, epsilon=1e-6, dtype=at_least_float32(x.dtype), param_dtype=self.param_dtype, name='norm'
        )
        return norm(x).astype(x.dtype)


class SelfAttention(nn.Module):
    """Residual self-attention over all pixels of ``[N, H, W, C]``; the softmax is in float32 or better."""

    groups: int
    num_heads: int = 1
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        n, h, w, c = x.shape

        def project(name: str, inputs: Array, scale: float = 1.0) -> Array:
            return nn.Dense(
                c, kernel_init=uniform_fan_avg(scale), dtype=self.dtype, param_dtype=self.param_dtype, name=name
            )(inputs)

        y = GroupNorm(self.groups, self.param_dtype, name='norm')(x).reshape(n, h * w, c)
        query, key, value = (
            project(name, y).reshape(n, h * w, self.num_heads, c // self.num_heads)
            for name in ('query', 'key', 'value')
        )
        logits = jnp.einsum('nqhd,nkhd->nhqk', query, key) * (c // self.num_heads) ** -0.5
        weights = jax.nn.softmax(logits.astype(at_least_float32(self.dtype)), axis=-1).astype(self.dtype)
        y = jnp.einsum('nhqk,nkhd->nqhd', weights, value).reshape(n, h, w, c)
        return x + project('out', y, scale=0.0)
