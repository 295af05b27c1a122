"""The networks of R3GAN (Huang et al. 2024): residual blocks with grouped convolutions, without normalisation.

Images have a side of 8, 16, 32, 64 ... pixels. Class labels are optional. Architecture and initialisation follow the official
code (github.com/brownvc/R3GAN). As in that code, the stage of 4x4 pixels computes in float32 for every ``dtype``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxgen.models.convolutions import grouped_conv
from jaxgen.models.dcgan import SMALLEST, num_levels
from jaxgen.models.layers import at_least_float32
from jaxgen.models.resampling import bilinear_downsample, bilinear_upsample
from jaxgen.types import Array, Dtype, Fields

EXPANSION = 2  # channels between the pointwise convolutions of a block, as a multiple of the channels of the block
SLOPE = 0.2  # slope of the leaky ReLUs for negative inputs
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the variance across a leaky ReLU (He et al. 2015)
LAYERS = 3  # number of convolutions in a residual block


def stage_channels(image_size: int, channels: Sequence[int]) -> tuple[int, ...]:
    """Return the number of channels of each stage, from 4x4 pixels to the size of the image.

    Args:
      image_size: side of the images in pixels, 4 times a power of two.
      channels: numbers of channels of the first stages. Each further stage has half the channels of the stage before; stages
        that are larger than the image are left out.

    Raises:
      ValueError: if ``image_size`` is not 4 times a power of two, or is below 8.
    """
    found = list(channels[: num_levels(image_size) + 1])
    while len(found) <= num_levels(image_size):
        found.append(found[-1] // 2)
    return tuple(found)


def fan_in_normal(gain: float = 1.0) -> nn.initializers.Initializer:
    """Return the initialiser N(0, gain^2 / fan_in) (He et al. 2015), or zeros for ``gain=0``."""
    if not gain:
        return nn.initializers.zeros
    return nn.initializers.variance_scaling(gain**2, 'fan_in', 'normal')


def pointwise_conv(features: int, gain: float = 1.0, **fields) -> nn.Dense:
    """Return a 1x1 convolution without bias, whose initial kernel ``[C, features]`` is N(0, gain^2 / C)."""
    return nn.Dense(features, use_bias=False, kernel_init=fan_in_normal(gain), **fields)


class ResidualBlock(nn.Module):
    """A block ``x + conv_3(act(conv_2(act(conv_1(x)))))``, where ``act`` adds a bias and applies a leaky ReLU.

    ``conv_1`` and ``conv_3`` are 1x1 convolutions to twice the channels and back, and ``conv_2`` is a grouped 3x3 convolution.
    The initialisation is Fix-up (Zhang et al. 2019): ``conv_3`` starts at zero, and the initial values of the others are
    smaller in a deeper network.

    Attributes:
      group_size: number of channels in each group of ``conv_2``.
      depth: number of residual blocks in the network.
    """

    group_size: int
    depth: int
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w c']) -> Float[Array, 'n h w c']:
        """Return the feature map after the block, of the same shape."""
        dtypes: Fields = {'dtype': self.dtype, 'param_dtype': self.param_dtype}
        width = EXPANSION * x.shape[-1]
        gain = GAIN * self.depth ** (-1 / (2 * LAYERS - 2))

        def biased_activation(y: Array, name: str) -> Array:
            bias = self.param(name, nn.initializers.zeros, (width,), self.param_dtype)
            return nn.leaky_relu(y + bias.astype(y.dtype), SLOPE)

        y = biased_activation(pointwise_conv(width, gain, **dtypes, name='conv_1')(x), 'bias_1')
        shape = (3, 3, self.group_size, width)
        kernel = self.param('conv_2', fan_in_normal(gain), shape, self.param_dtype)
        y = biased_activation(grouped_conv(y, kernel.astype(y.dtype)), 'bias_2')
        return x + pointwise_conv(x.shape[-1], 0.0, **dtypes, name='conv_3')(y)


class R3GANGenerator(nn.Module):
    """A generator, which turns latents and class labels into images from about -1 to 1; the range is not bounded.

    Each stage doubles the resolution, followed by ``num_blocks`` residual blocks. The first stage begins with a basis
    ``[4, 4, C]`` instead, each channel of which is multiplied by a linear function of the latent. With the default fields and
    ten classes it is the official network for CIFAR-10, with 20,781,952 parameters.

    Attributes:
      image_size: side of the images in pixels.
      channels: numbers of channels of the stages, see ``stage_channels``.
      num_blocks: number of residual blocks in each stage.
      group_size: number of channels in each group of the 3x3 convolutions; it divides twice the channels of each stage.
      latent_size: length of the latent.
      num_classes: number of classes; 0 for an unconditional network. Otherwise an embedding of the label, as long as the latent,
        is appended to the latent.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxgen import models
      >>> z, label = jnp.zeros((2, 64)), jnp.zeros(2, int)
      >>> network = models.R3GANGenerator(image_size=32, out_channels=3)
      >>> jax.eval_shape(lambda key: network.init_with_output(key, z, label)[0], jax.random.key(0)).shape
      (2, 32, 32, 3)
    """

    image_size: int
    out_channels: int
    channels: tuple[int, ...] = (768, 768, 768, 768)
    num_blocks: int = 2
    group_size: int = 16
    latent_size: int = 64
    num_classes: int = 0
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, 'n z'], label: Int[Array, ' n']) -> Float[Array, 'n h w c']:
        """Return the images for latents and class labels; an unconditional network ignores the labels."""
        widths = stage_channels(self.image_size, self.channels)
        small: Fields = {'dtype': at_least_float32(self.dtype), 'param_dtype': self.param_dtype}
        dtypes: Fields = {'dtype': self.dtype, 'param_dtype': self.param_dtype}
        x = z.astype(small['dtype'])
        if self.num_classes:
            x = jnp.concatenate([x, _label_embedding(self.num_classes, self.latent_size, 1.0, small)(label)], axis=1)
        x = GenerativeBasis(widths[0], **small, name='basis')(x)
        depth = self.num_blocks * len(widths)
        for stage, width in enumerate(widths):
            types = dtypes if stage else small
            if stage:
                x = x.astype(self.dtype)
                if width != x.shape[-1]:
                    x = pointwise_conv(width, **types, name=f'up_{stage}')(x)
                x = bilinear_upsample(x)
            for i in range(self.num_blocks):
                x = ResidualBlock(self.group_size, depth, **types, name=f'block_{stage}_{i}')(x)
        x = pointwise_conv(self.out_channels, **dtypes, name='to_image')(x)
        return x.astype(at_least_float32(self.dtype))


class R3GANDiscriminator(nn.Module):
    """A discriminator, whose logits are high for real images; it mirrors the architecture of the generator.

    A 4x4 convolution of each channel reduces the last feature map to one pixel, and a linear function reduces it to the logit.
    With classes, that function has as many outputs as the first stage has channels, and the logit is their inner product with
    an embedding of the label (Miyato & Koyama 2018). With the default fields and ten classes it is the official network for
    CIFAR-10, with 21,280,512 parameters.

    Attributes:
      image_size: side of the images in pixels.
      channels: numbers of channels of the stages, see ``stage_channels``; the discriminator applies them from last to first.
      num_blocks: number of residual blocks in each stage.
      group_size: number of channels in each group of the 3x3 convolutions; it divides twice the channels of each stage.
      num_classes: number of classes; 0 for a network that ignores labels.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxgen import models
      >>> images, label = jnp.zeros((2, 32, 32, 3)), jnp.zeros(2, int)
      >>> network = models.R3GANDiscriminator(image_size=32)
      >>> jax.eval_shape(lambda key: network.init_with_output(key, images, label)[0], jax.random.key(0)).shape
      (2,)
    """

    image_size: int
    channels: tuple[int, ...] = (768, 768, 768, 768)
    num_blocks: int = 2
    group_size: int = 16
    num_classes: int = 0
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w c'], label: Int[Array, ' n']) -> Float[Array, ' n']:
        """Return the logits of images; an unconditional network ignores the class labels."""
        widths = stage_channels(self.image_size, self.channels)
        small: Fields = {'dtype': at_least_float32(self.dtype), 'param_dtype': self.param_dtype}
        dtypes: Fields = {'dtype': self.dtype, 'param_dtype': self.param_dtype}
        x = pointwise_conv(widths[-1], **dtypes, name='from_image')(x)
        depth = self.num_blocks * len(widths)
        for stage in reversed(range(len(widths))):
            types = dtypes if stage else small
            x = x.astype(types['dtype'])
            for i in range(self.num_blocks):
                x = ResidualBlock(self.group_size, depth, **types, name=f'block_{stage}_{i}')(x)
            if stage:
                x = bilinear_downsample(x)
                if widths[stage - 1] != x.shape[-1]:
                    x = pointwise_conv(widths[stage - 1], **types, name=f'down_{stage}')(x)
        x = DiscriminativeBasis(**small, name='basis')(x)[:, 0, 0]
        outputs = widths[0] if self.num_classes else 1
        x = nn.Dense(outputs, use_bias=False, kernel_init=fan_in_normal(), **small, name='head')(x)
        if self.num_classes:
            x *= _label_embedding(self.num_classes, outputs, outputs**-0.5, small)(label)
        return jnp.sum(x, axis=1)


class GenerativeBasis(nn.Module):
    """A basis ``[4, 4, features]``, each channel of which is multiplied by a linear function of the input."""

    features: int
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'n z']) -> Float[Array, 'n 4 4 features']:
        """Return the first feature map of the generator."""
        shape = (SMALLEST, SMALLEST, self.features)
        basis = self.param('basis', nn.initializers.normal(1.0), shape, self.param_dtype)
        kernel = self.param('kernel', fan_in_normal(), (x.shape[-1], self.features), self.param_dtype)
        return basis.astype(self.dtype) * (x @ kernel.astype(self.dtype))[:, None, None]


class DiscriminativeBasis(nn.Module):
    """A depthwise 4x4 convolution, which reduces a feature map of 4x4 pixels to one pixel."""

    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'n 4 4 c']) -> Float[Array, 'n 1 1 c']:
        """Return the feature map of one pixel."""
        shape = (SMALLEST, SMALLEST, x.shape[-1])
        basis = self.param('basis', nn.initializers.normal(1 / SMALLEST), shape, self.param_dtype)
        return jnp.sum(x * basis.astype(self.dtype), axis=(1, 2), keepdims=True)


def _label_embedding(num_classes: int, features: int, gain: float, dtypes: Fields) -> nn.Embed:
    """Return the layer ``label``, a matrix product with one-hot vectors, so that its fan-in is ``num_classes``."""
    init = nn.initializers.normal(gain * num_classes**-0.5)
    return nn.Embed(num_classes, features, embedding_init=init, **dtypes, name='label')
