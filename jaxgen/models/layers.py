"""Layers that several networks share: initialisers, embeddings of time and label, normalisation, attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Num

from jaxgen.types import Array, Dtype, Fields, JsonObject

MakeLayer = Callable[..., Callable[..., Array]]  # a layer class with some of its fields already set


def uniform_fan_avg(scale: float = 1.0):
    """Return the variance-scaling uniform initialiser of Ho et al. 2020; ``scale=0`` is replaced by their 1e-10."""
    return nn.initializers.variance_scaling(scale or 1e-10, 'fan_avg', 'uniform')


def precision_of(dtype: Dtype) -> JsonObject:
    """Return the precision at which a network of this dtype computes, as JSON values for a protocol.

    Returns:
      ``dtype``, and ``matmul_precision``, the precision of float32 matrix products: ``default`` is float32 on CPUs, and lower
      on TPUs and GPUs.
    """
    matmul_precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return {'dtype': jnp.dtype(dtype).name, 'matmul_precision': matmul_precision or 'default'}


def at_least_float32(dtype) -> jnp.dtype:
    """Return the dtype for norms, softmax and losses: float32, or float64 if the network computes in float64."""
    return jnp.promote_types(dtype, jnp.float32)


def timestep_embedding(
    t: Num[Array, ' n'], dim: int, dtype=jnp.float32, freq_shift: int = 1, flip_sin_to_cos: bool = False
) -> Float[Array, 'n dim']:
    """Embed times in sinusoids (Vaswani et al. 2017) as Ho et al. 2020 do: ``[N, dim]``, sines first, then cosines.

    Args:
      t: times ``[N]``.
      dim: width of the embedding, an even number.
      dtype: dtype of the embedding.
      freq_shift: with 1 the lowest frequency is 1/10000; with 0 the frequencies end one step before it.
      flip_sin_to_cos: whether to put the cosines first.
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
    """Return the sum of the embeddings of time, class label and augmentation: ``[N, features]``.

    The time embedding is sinusoidal and followed by two dense layers. A network that also depends on the end of a step takes
    ``t [N, 2]``: the time, and the distance from there to the end. It has two more layers, ``gap1`` and ``gap2``.

    Args:
      network: the module whose compact method calls this function. It has the fields ``num_classes`` (0 for no labels),
        ``augment_dim`` (0 for no augmentation), ``freq_shift``, ``flip_sin_to_cos``, ``dtype`` and ``param_dtype``, and gets
        the layers ``time1`` and ``time2``, and with labels or augmentation ``label`` or ``augment``.
      t: times ``[N]`` or ``[N, 2]``.
      labels: class labels ``[N]``; None for a network without classes.
      sinusoids: width of the sinusoidal time embedding.
      features: width of the result.
      augment: the inputs that describe the augmentation (``diffusion.augment``); None stands for zeros, the inputs of images
        that are not augmented.
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
    """A group normalisation (Wu & He 2018), computed in float32 or better; it returns the dtype of its input."""

    groups: int
    param_dtype: Dtype = jnp.float32
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w c']) -> Float[Array, 'n h w c']:
        """Return the normalised images."""
        return _GroupNorm(self.groups, self.param_dtype, self.epsilon, name='norm')(x)


class _GroupNorm(nn.Module):
    """A submodule that gives the parameters of ``GroupNorm`` the same paths as those of ``nn.GroupNorm``."""

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

    The moments of each channel are computed first and then combined within the group: on CPUs a sum over pixels is three times
    as fast as a sum over pixels and channels. The first pixel is subtracted from all pixels before, so that images with a large
    mean and constant images lose no digits.
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
    """Return multi-head attention; the softmax is computed in float32 or better.

    Args:
      query: queries of the tokens.
      key: keys of the tokens.
      value: values of the tokens.
      num_heads: number of heads; each has an equal share of the channels.
      precision: precision of the matrix products; the default of the device if not set.
    """
    n, t, c = query.shape

    def heads(x: Array) -> Array:
        return x.reshape(n, t, num_heads, c // num_heads).swapaxes(1, 2)

    logits = jnp.matmul(heads(query), heads(key).swapaxes(2, 3), precision=precision) * (c // num_heads) ** -0.5
    weights = jax.nn.softmax(logits.astype(at_least_float32(query.dtype)), axis=-1).astype(query.dtype)
    return jnp.matmul(weights, heads(value), precision=precision).swapaxes(1, 2).reshape(n, t, c)


class SelfAttention(nn.Module):
    """A residual self-attention over all pixels of ``[N, H, W, C]``; the softmax is computed in float32 or better."""

    groups: int
    num_heads: int = 1
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w c']) -> Float[Array, 'n h w c']:
        """Return the sum of the feature map and its attention."""
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
    """A batch normalisation as in PyTorch, over the global batch on any number of devices.

    Each batch replaces the share ``momentum`` of the running statistics by its own mean and unbiased variance. Statistics are
    computed in float32 or better; the output has the dtype of the input.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w c'], train: bool) -> Float[Array, 'n h w c']:
        """Return the normalised images, by the statistics of the batch if ``train``, and else by the running statistics."""
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
      kernel: the kernel, ``[..., outputs]``; W is this kernel as a matrix ``[outputs, inputs]``.
      u: the current estimate of the left singular vector, ``[outputs]``.

    Returns:
      ``W / (u' W v)`` with v = W^T u / |W^T u| and u' = W v / |W v|, where u' and v are constants for the gradient; and u'.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    v = _unit(jax.lax.stop_gradient(matrix) @ u)
    u = _unit(v @ jax.lax.stop_gradient(matrix))
    return kernel / (v @ matrix @ u), u


def _unit(x: Array) -> Array:
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)
