"""The UNet denoiser of Ho et al. 2020 (Denoising Diffusion Probabilistic Models, appendix B)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int, Num, Shaped

from jaxgen.models.convolutions import upsample_conv
from jaxgen.models.layers import GroupNorm, MakeLayer, SelfAttention, at_least_float32, conditioning, uniform_fan_avg
from jaxgen.types import Array, Dtype, Fields


class ResBlock(nn.Module):
    """A residual block: norm, swish, conv, plus the embedding; norm, swish, dropout, conv, plus the input.

    The input passes through a 1x1 convolution if its width differs from ``features``.
    """

    features: int
    groups: int
    dropout: float
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32
    epsilon: float = 1e-6

    @nn.compact
    def __call__(
        self, x: Float[Array, 'n h w c'], emb: Float[Array, 'n d'], train: bool
    ) -> Float[Array, 'n h w features']:
        """Return the feature map after the block."""
        common: Fields = {'dtype': self.dtype, 'param_dtype': self.param_dtype}
        h = nn.swish(GroupNorm(self.groups, self.param_dtype, self.epsilon, name='norm1')(x))
        h = nn.Conv(self.features, (3, 3), kernel_init=uniform_fan_avg(), name='conv1', **common)(h)
        h += nn.Dense(self.features, kernel_init=uniform_fan_avg(), name='emb', **common)(nn.swish(emb))[:, None, None]
        h = nn.swish(GroupNorm(self.groups, self.param_dtype, self.epsilon, name='norm2')(h))
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        h = nn.Conv(self.features, (3, 3), kernel_init=uniform_fan_avg(0.0), name='conv2', **common)(h)
        if x.shape[-1] != self.features:
            x = nn.Dense(self.features, kernel_init=uniform_fan_avg(), name='shortcut', **common)(x)
        return x + h


class Upsample(nn.Module):
    """A 3x3 convolution of the image, enlarged to twice its side: ``[N, H, W, C] -> [N, 2H, 2W, features]``."""

    features: int
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w c']) -> Float[Array, 'n h2 w2 features']:
        """Return the feature map of twice the side."""
        kernel = self.param('kernel', uniform_fan_avg(), (3, 3, x.shape[-1], self.features), self.param_dtype)
        bias = self.param('bias', nn.initializers.zeros, (self.features,), self.param_dtype)
        return upsample_conv(x.astype(self.dtype), kernel.astype(self.dtype)) + bias.astype(self.dtype)


class UNet(nn.Module):
    """A noise-conditional UNet: ``[N, H, W, C], t [N] or [N, 2], labels [N] -> [N, H, W, C]`` (float32 out).

    With the defaults and three image channels it has the paper's 35,746,307 parameters. Fields that the paper does not vary
    have the names of diffusers' ``UNet2DModel``, whose networks can be imported.

    Attributes:
      out_channels: channels of the image, C.
      base_channels: width of the first level.
      channel_multipliers: width of each level, as a multiple of ``base_channels``; each level after the first halves the side.
      num_res_blocks: number of residual blocks in each level on the way down; one more on the way up.
      attention_resolutions: sides of the feature map at which self-attention follows every residual block.
      num_heads: number of attention heads in every level.
      attention_head_dim: number of channels of each head, so that wider levels have more heads; ``num_heads`` is used if not set.
      dropout: dropout rate within the residual blocks, active when ``train`` is true.
      num_classes: size of the label embedding that is added to the time embedding; 0 for an unconditional network.
      augment_dim: number of inputs that describe an augmentation, whose layer has no bias; 0 for a network without them.
      norm_groups: number of groups of every group normalisation.
      norm_eps: epsilon of every group normalisation.
      freq_shift, flip_sin_to_cos: form of the time embedding, see ``timestep_embedding``.
      downsample_padding: padding of a strided convolution: 0 pads only below and on the right, as TensorFlow does; 1 pads on all
        sides.
      patch_size: side p of the patches into which the image is folded (space to depth); 1 works on the pixels.
      pixel_channels: channels of the convolutions on single pixels before the folding and after the unfolding; no such
        convolutions if not set.
      dtype: dtype of the computation (with bfloat16, norms, softmax and parameters stay in float32).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxgen import models
      >>> x, t = jnp.zeros((2, 32, 32, 3)), jnp.array([0.0, 500.0])
      >>> params = jax.eval_shape(models.UNet(out_channels=3).init, jax.random.key(0), x, t)
      >>> sum(p.size for p in jax.tree.leaves(params))
      35746307
    """

    out_channels: int = 3
    base_channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 2, 2, 2)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (16,)
    num_heads: int = 1
    attention_head_dim: int | None = None
    dropout: float = 0.1
    num_classes: int = 0
    augment_dim: int = 0
    norm_groups: int = 32
    norm_eps: float = 1e-6
    freq_shift: int = 1
    flip_sin_to_cos: bool = False
    downsample_padding: int = 0
    patch_size: int = 1
    pixel_channels: int | None = None
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
        conv: MakeLayer = functools.partial(nn.Conv, kernel_size=(3, 3), kernel_init=uniform_fan_avg(), **common)
        res_block: MakeLayer = functools.partial(
            ResBlock, groups=self.norm_groups, dropout=self.dropout, epsilon=self.norm_eps, **common
        )
        down_padding = ((self.downsample_padding, 1),) * 2
        widths = [self.base_channels * m for m in self.channel_multipliers]

        def block(h: Array, features: int, name: str) -> Array:
            h = res_block(features, name=name)(h, emb, train)
            return attend(h, f'{name}_attention') if h.shape[1] in self.attention_resolutions else h

        def attend(h: Array, name: str) -> Array:
            heads = h.shape[-1] // self.attention_head_dim if self.attention_head_dim else self.num_heads
            return SelfAttention(self.norm_groups, heads, epsilon=self.norm_eps, name=name, **common)(h)

        emb = conditioning(
            self, t, labels, sinusoids=self.base_channels, features=4 * self.base_channels, augment=augment
        )
        x = x.astype(self.dtype)
        pixels = x if self.pixel_channels is None else conv(self.pixel_channels, name='pixels_in')(x)
        h = conv(widths[0], name='conv_in')(fold(pixels, self.patch_size))
        skips = [h]
        for level, width in enumerate(widths):
            for i in range(self.num_res_blocks):
                h = block(h, width, f'down{level}_{i}')
                skips.append(h)
            if level < len(widths) - 1:
                h = conv(width, strides=2, padding=down_padding, name=f'down{level}_sample')(h)
                skips.append(h)

        h = res_block(widths[-1], name='middle_0')(h, emb, train)
        h = attend(h, 'middle_attention')
        h = res_block(widths[-1], name='middle_1')(h, emb, train)

        for level, width in reversed(list(enumerate(widths))):
            for i in range(self.num_res_blocks + 1):
                h = block(jnp.concatenate([h, skips.pop()], axis=-1), width, f'up{level}_{i}')
            if level > 0:
                h = Upsample(width, name=f'up{level}_sample', **common)(h)

        h = nn.swish(GroupNorm(self.norm_groups, self.param_dtype, self.norm_eps, name='norm_out')(h))
        if self.pixel_channels is None:
            h = conv(self.out_channels * self.patch_size**2, kernel_init=uniform_fan_avg(0.0), name='conv_out')(h)
            h = unfold(h, self.patch_size)
        else:
            h = unfold(conv(self.pixel_channels * self.patch_size**2, name='to_pixels')(h), self.patch_size)
            h = conv(self.pixel_channels, name='pixels_out')(nn.swish(jnp.concatenate([h, pixels], axis=-1)))
            h = conv(self.out_channels, kernel_init=uniform_fan_avg(0.0), name='conv_out')(nn.swish(h))
        return h.astype(at_least_float32(self.dtype))


def attention_levels(num_levels: int, resolutions: Sequence[int], side: int) -> tuple[int, ...]:
    """Return the levels with self-attention, for a network whose first level has a side of ``side`` pixels."""
    return tuple(level for level in range(num_levels) if side >> level in resolutions)


def fold(x: Shaped[Array, 'n h w c'], p: int) -> Shaped[Array, 'n h2 w2 c2']:
    """Fold each p x p patch into one pixel (space to depth): ``[N, H, W, C] -> [N, H/p, W/p, p*p*C]``."""
    n, h, w, c = x.shape
    return x.reshape(n, h // p, p, w // p, p, c).swapaxes(2, 3).reshape(n, h // p, w // p, p * p * c)


def unfold(x: Shaped[Array, 'n h w c'], p: int) -> Shaped[Array, 'n h2 w2 c2']:
    """Undo :func:`fold` (depth to space)."""
    n, h, w, c = x.shape
    return x.reshape(n, h, w, p, p, c // p**2).swapaxes(2, 3).reshape(n, h * p, w * p, c // p**2)
