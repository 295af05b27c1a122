"""The diffusion transformer of Peebles & Xie 2023 (Scalable Diffusion Models with Transformers), with adaLN-Zero."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int, Num

from jaxgen.models.layers import (
    MakeLayer,
    at_least_float32,
    attention,
    conditioning,
    timestep_embedding,
    uniform_fan_avg,
)
from jaxgen.models.unet import fold, unfold
from jaxgen.types import Array, Dtype, Fields

SINUSOIDS = 256  # width of the sinusoidal time embedding, before its dense layers


class Block(nn.Module):
    """A transformer block: self-attention, then an MLP, each of the modulated norm of ``x [N, T, C]`` and added through a gate.

    Shifts, scales and gates are linear functions of ``swish(emb)`` and start at zero, so that the block starts as the identity.
    """

    num_heads: int
    mlp_ratio: int
    dropout: float
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, 'n tokens c'], emb: Float[Array, 'n d'], train: bool
    ) -> Float[Array, 'n tokens c']:
        """Return the tokens after the block."""
        common: Fields = {'dtype': self.dtype, 'param_dtype': self.param_dtype}
        dense: MakeLayer = functools.partial(nn.Dense, kernel_init=uniform_fan_avg(), **common)
        c = x.shape[-1]
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation(6, emb, c, **common)
        h = dense(3 * c, name='qkv')(modulated_norm(x, shift1, scale1))
        query, key, value = jnp.split(h, 3, axis=-1)
        h = attention(query, key, value, self.num_heads)
        x += gate1 * dense(c, name='out')(h)
        h = nn.gelu(dense(self.mlp_ratio * c, name='mlp1')(modulated_norm(x, shift2, scale2)), approximate=True)
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        return x + gate2 * dense(c, name='mlp2')(h)


class DiT(nn.Module):
    """A noise-conditional transformer: ``[N, H, W, C], t [N], labels [N] -> [N, H, W, C]`` (float32 out).

    The defaults are the paper's DiT-S/2. The initialisation is also the paper's, except that the layers of the time embedding
    are initialised like all other layers, and the label embedding with variance 1 / base_channels.

    Attributes:
      out_channels: channels of the image, C.
      base_channels: width of every block, a multiple of 4 and of ``num_heads``.
      num_blocks: number of transformer blocks.
      num_heads: number of attention heads of every block.
      mlp_ratio: width of the MLPs, as a multiple of ``base_channels``.
      dropout: dropout rate within the MLPs, active when ``train`` is true.
      num_classes: size of the label embedding that is added to the time embedding; 0 for an unconditional network.
      augment_dim: number of inputs that describe an augmentation, whose layer has no bias; 0 for a network without them.
      freq_shift, flip_sin_to_cos: form of the time embedding, see ``timestep_embedding``.
      patch_size: side p of the patches of the image; each patch is one token.
      dtype: dtype of the computation (with bfloat16, norms, softmax and parameters stay in float32).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxgen import models
      >>> x, t = jnp.zeros((2, 32, 32, 3)), jnp.array([0.0, 500.0])
      >>> jax.eval_shape(lambda key: models.DiT().init_with_output(key, x, t)[0], jax.random.key(0)).shape
      (2, 32, 32, 3)
    """

    out_channels: int = 3
    base_channels: int = 384
    num_blocks: int = 12
    num_heads: int = 6
    mlp_ratio: int = 4
    dropout: float = 0.0
    num_classes: int = 0
    augment_dim: int = 0
    freq_shift: int = 0
    flip_sin_to_cos: bool = True
    patch_size: int = 2
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, 'n h w c'],
        t: Num[Array, 'n ...'],
        labels: Int[Array, ' n'] | None = None,
        *,
        augment: Float[Array, 'n a'] | None = None,
        train: bool = False,
    ) -> Float[Array, 'n h w out']:
        """Return the output of the network for noisy images, their times, class labels and augmentations."""
        common: Fields = {'dtype': self.dtype, 'param_dtype': self.param_dtype}
        c = self.base_channels
        emb = conditioning(self, t, labels, sinusoids=SINUSOIDS, features=c, augment=augment)
        h = fold(x.astype(self.dtype), self.patch_size)
        n, height, width, _ = h.shape
        h = nn.Dense(c, kernel_init=uniform_fan_avg(), name='patches', **common)(h)
        h += position_embedding(height, width, c, at_least_float32(self.dtype)).astype(h.dtype)
        h = h.reshape(n, height * width, c)
        for i in range(self.num_blocks):
            h = Block(self.num_heads, self.mlp_ratio, self.dropout, name=f'block{i}', **common)(h, emb, train)
        h = modulated_norm(h, *modulation(2, emb, c, **common))
        h = nn.Dense(self.out_channels * self.patch_size**2, kernel_init=nn.initializers.zeros, name='out', **common)(h)
        return unfold(h.reshape(n, height, width, -1), self.patch_size).astype(at_least_float32(self.dtype))


def modulation(parts: int, emb: Float[Array, 'n d'], features: int, **common) -> list[Float[Array, 'n 1 features']]:
    """Return ``parts`` modulations (shifts, scales and gates), ``[N, 1, features]`` each, from a layer of the calling module."""
    dense = nn.Dense(parts * features, kernel_init=nn.initializers.zeros, name='modulation', **common)
    return jnp.split(dense(nn.swish(emb))[:, None], parts, axis=-1)


def modulated_norm(
    x: Float[Array, 'n tokens c'], shift: Float[Array, 'n 1 c'], scale: Float[Array, 'n 1 c']
) -> Float[Array, 'n tokens c']:
    """Return the layer norm of ``x [N, T, C]``, scaled by 1 + ``scale`` and shifted; it is computed in float32 or better."""
    norm = nn.LayerNorm(epsilon=1e-6, use_scale=False, use_bias=False, dtype=at_least_float32(x.dtype))
    return (norm(x) * (1 + scale) + shift).astype(x.dtype)


def position_embedding(
    height: int, width: int, features: int, dtype=jnp.float32
) -> Float[Array, 'height width features']:
    """Return the position embeddings: the column in the first half of the features, the row in the second half.

    Each half consists of sines, then cosines, with wavelengths from 2 pi towards 20000 pi.
    """
    row, column = (timestep_embedding(jnp.arange(n), features // 2, dtype, freq_shift=0) for n in (height, width))
    shape = height, width, features // 2
    return jnp.concatenate([jnp.broadcast_to(column, shape), jnp.broadcast_to(row[:, None], shape)], axis=-1)
