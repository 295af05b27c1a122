"""Layers that the networks share: initialisers, embeddings of time and label, normalisation, attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Num

from jaxgen.types import Array, Dtype, Fields, JsonObject

MakeLayer = Callable[..., Callable[..., Array]]  # makes a layer with some of its fields set already


def uniform_fan_avg(scale: float = 1.0):
    """Return the variance-scaling uniform initialiser of Ho et al. 2020; ``scale=0`` stands for their 1e-10, nearly zero."""
    return nn.initializers.variance_scaling(scale or 1e-10, 'fan_avg', 'uniform')


def precision_of(dtype: Dtype) -> JsonObject:
    """Return the precision in which a network of this dtype computes, as JSON values for a protocol.

    Returns:
      ``dtype``, and ``matmul_precision``, the precision of products of float32: ``default`` is float32 on CPUs and less on
      TPUs and GPUs.
    """
    matmul_precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return {'dtype': jnp.dtype(dtype).name, 'matmul_precision': matmul_precision or 'default'}


def at_least_float32(dtype) -> jnp.dtype:
    """Return the dtype for norms, softmax and losses: float32, or float64 where the network computes in float64."""
    return jnp.promote_types(dtype, jnp.float32)


def timestep_embedding(
    t: Num[Array, ' n'], dim: int, dtype=jnp.float32, freq_shift: int = 1, flip_sin_to_cos: bool = False
) -> Float[Array, 'n dim']:
    """Embed times in sinusoids (Vaswani et al. 2017) as Ho et al. 2020 do: ``[N, dim]``, sines first, then cosines.

    Args:
      t: times ``[N]``.
      dim: width of the embedding, an even number.
      freq_shift: 1 ends the frequencies at 1/10000, 0 one step before that.
      flip_sin_to_cos: puts the cosines first.
      dtype: of the embedding.
    """
    half = dim // 2
    frequencies = jnp.exp(-jnp.log(jnp.asarray(10000.0, dtype)) / (half - freq_shift) * jnp.arange(half, dtype=dtype))
    angles = t.astype(dtype)[:, None] * frequencies[None, :]
    waves = [jnp.sin(angles), jnp.cos(angles)]
    return jnp.concatenate(waves[::-1] if flip_sin_to_cos else waves, axis=1)


def conditioning(
    network: nn.Module,
    t: Num[Array, 'n ...'],
    labels: Int[Array, ' n'] | None,
    *,
    sinusoids: int,
    features: int,
    augment: Float[Array, 'n a'] | None = None,
) -> Float[Array, 'n features']:
    """Return two layers on the time embedding, plus embeddings of the label and of the augmentation: ``[N, features]``.

    A network that takes the end of a step as well gets ``t [N, 2]``, the time and how far to go back from there, and has two
    more layers, ``gap1`` and ``gap2``.

    Args:
      network: the module in whose compact method this is called. It has the fields ``num_classes`` (0 leaves the labels
        out), ``augment_dim`` (0 leaves the augmentation out), ``freq_shift``, ``flip_sin_to_cos``, ``dtype`` and
        ``param_dtype``, and gets the layers ``time1``, ``time2`` and, where they are not left out, ``label`` and
        ``augment``.
      t: times ``[N]`` or ``[N, 2]``.
      labels: class labels ``[N]``; None for a network without classes.
      sinusoids: width of the time embedding.
      features: width of the result.
      augment: condition numbers of the augmentation (``diffusion.augment``); zeros, for images as they are, if None.
    """
    common: Fields = {'dtype': network.dtype, 'param_dtype': network.param_dtype}
    dtype = at_least_float32(network.dtype)
    emb: Any = 0
    for times, name in zip(t.reshape(len(t), -1).T, ('time', 'gap'), strict=False):
        h = timestep_embedding(times, sinusoids, dtype, network.freq_shift, network.flip_sin_to_cos)
        h = nn.Dense(features, kernel_init=uniform_fan_avg(), name=f'{name}1', **common)(h)
        emb += nn.Dense(features, kernel_init=uniform_fan_avg(), name=f'{name}2', **common)(nn.swish(h))
    if network.num_classes:
        emb += nn.Embed(network.num_classes, features, name='label', **common)(labels)
    if network.augment_dim:
        conditions = jnp.zeros((len(t), network.augment_dim), dtype) if augment is None else augment
        emb += nn.Dense(features, use_bias=False, kernel_init=uniform_fan_avg(), name='augment', **common)(conditions)
    return emb


class GroupNorm(nn.Module):
    """Group normalisation (Wu & He 2018), computed in float32 or better; returns the input's dtype."""

    groups: int
    param_dtype: Dtype = jnp.float32
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w c']) -> Float[Array, 'n h w c']:
        """Return the normalised images."""
        return _GroupNorm(self.groups, self.param_dtype, self.epsilon, name='norm')(x)


class _GroupNorm(nn.Module):
    """The parameters and the computation of ``GroupNorm``, under the names of ``nn.GroupNorm``."""

    groups: int
    param_dtype: Dtype
    epsilon: float

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w c']) -> Float[Array, 'n h w c']:
        channels = x.shape[-1]
        scale = self.param('scale', nn.initializers.ones, (channels,), self.param_dtype)
        bias = self.param('bias', nn.initializers.zeros, (channels,), self.param_dtype)
        y = x.astype(at_least_float32(x.dtype))
        mean, variance = group_moments(y, self.groups)
        return ((y - mean) * (jax.lax.rsqrt(variance + self.epsilon) * scale) + bias).astype(x.dtype)


def group_moments(x: Float[Array, 'n h w c'], groups: int) -> tuple[Float[Array, 'n 1 1 c'], Float[Array, 'n 1 1 c']]:
    """Return mean and variance of each group of channels of ``x [N, H, W, C]``, repeated to ``[N, 1, 1, C]``.

    The moments of each channel are taken first and combined within the group: on CPUs a sum over pixels is three times as
    fast as one over pixels and channels. They are taken of the distance to the first pixel, so that large means and
    constant images lose no digits.
    """
    n, _, _, c = x.shape
    origin = jax.lax.stop_gradient(x[:, :1, :1])
    distance = x - origin
    offset = distance.mean((1, 2), keepdims=True)
    variance = jnp.square(distance).mean((1, 2), keepdims=True) - jnp.square(offset)

    grouped = n, 1, 1, groups, c // groups
    means, variances = (origin + offset).reshape(grouped), variance.reshape(grouped)
    mean = means.mean(-1, keepdims=True)
    within, between = variances.mean(-1, keepdims=True), jnp.square(means - mean).mean(-1, keepdims=True)
    variance = jnp.maximum(within, 0) + between
    mean, variance = (jnp.broadcast_to(moment, grouped).reshape(n, 1, 1, c) for moment in (mean, variance))
    return mean, variance


def attention(
    query: Float[Array, 'n t c'],
    key: Float[Array, 'n t c'],
    value: Float[Array, 'n t c'],
    num_heads: int,
    precision: jax.lax.Precision | None = None,
) -> Float[Array, 'n t c']:
    """Return multi-head attention of ``[N, T, C]`` each, ``[N, T, C]``; the softmax is in float32 or better.

    Args:
      query: what each token looks for.
      key: what each token is found by.
      value: what each token gives.
      num_heads: number of heads, which share the channels.
      precision: of the products; the default of the device if not set.
    """
    n, t, c = query.shape

    def heads(x: Array) -> Array:
        return x.reshape(n, t, num_heads, c // num_heads).swapaxes(1, 2)

    logits = jnp.matmul(heads(query), heads(key).swapaxes(2, 3), precision=precision) * (c // num_heads) ** -0.5
    weights = jax.nn.softmax(logits.astype(at_least_float32(query.dtype)), axis=-1).astype(query.dtype)
    return jnp.matmul(weights, heads(value), precision=precision).swapaxes(1, 2).reshape(n, t, c)


class SelfAttention(nn.Module):
    """Residual self-attention over all pixels of ``[N, H, W, C]``; the softmax is in float32 or better."""

    groups: int
    num_heads: int = 1
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w c']) -> Float[Array, 'n h w c']:
        """Return the images plus what attention adds."""
        n, h, w, c = x.shape

        def project(name: str, inputs: Array, scale: float = 1.0) -> Array:
            return nn.Dense(
                c, kernel_init=uniform_fan_avg(scale), dtype=self.dtype, param_dtype=self.param_dtype, name=name
            )(inputs)

        y = GroupNorm(self.groups, self.param_dtype, self.epsilon, name='norm')(x).reshape(n, h * w, c)
        query, key, value = (project(name, y) for name in ('query', 'key', 'value'))
        y = attention(query, key, value, self.num_heads)
        return x + project('out', y.reshape(n, h, w, c), scale=0.0)


class BatchNorm(nn.Module):
    """Batch normalisation as in PyTorch, over the global batch on any number of devices.

    The running statistics move by ``momentum`` towards those of the batch, of which the variance is the unbiased one.
    Statistics are computed in float32 or better; returns the input's dtype.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w c'], train: bool) -> Float[Array, 'n h w c']:
        """Return the images, normalised by the statistics of the batch if ``train``, else by the running ones."""
        size = (x.shape[-1],)
        dtype = at_least_float32(self.param_dtype)
        scale = self.param('scale', _normal_around_one, size, self.param_dtype) if self.use_scale else 1
        bias = self.param('bias', nn.initializers.zeros, size, self.param_dtype) if self.use_bias else 0
        running_mean = self.variable('batch_stats', 'mean', jnp.zeros, size, dtype)
        running_var = self.variable('batch_stats', 'var', jnp.ones, size, dtype)
        y = x.astype(dtype)
        if train:
            n = x.size // x.shape[-1]
            mean = jnp.mean(y, (0, 1, 2))
            var = jnp.mean(jnp.square(y - mean), (0, 1, 2))
            if not self.is_initializing():
                running_mean.value += self.momentum * (jax.lax.stop_gradient(mean) - running_mean.value)
                running_var.value += self.momentum * (jax.lax.stop_gradient(var) * n / (n - 1) - running_var.value)
        else:
            mean, var = running_mean.value, running_var.value
        return ((y - mean) * (jax.lax.rsqrt(var + self.epsilon) * scale) + bias).astype(x.dtype)


def _normal_around_one(key: Array, shape, dtype) -> Array:
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


def spectral_norm(
    kernel: Float[Array, '*inputs outputs'], u: Float[Array, ' outputs']
) -> tuple[Float[Array, '*inputs outputs'], Float[Array, ' outputs']]:
    """Return ``W / sigma`` and the next ``u``, by one step of power iteration (Miyato et al. 2018).

    Args:
      kernel: ``[..., outputs]``; W is its matrix ``[outputs, all else]``.
      u: ``[outputs]``, the left singular vector as it is known so far.

    Returns:
      ``W / (u' W v)`` with v = W' u / |W' u| and u' = W v / |W v|, where u' and v count as constants; and u'.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    v = _unit(jax.lax.stop_gradient(matrix) @ u)
    u = _unit(v @ jax.lax.stop_gradient(matrix))
    return kernel / (v @ matrix @ u), u


def _unit(x: Array) -> Array:
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)
