"""DCGAN (Radford et al. 2016) as in the PyTorch tutorial, for any side of 8, 16, 32, 64 ... pixels, with labels if asked for."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.models.convolutions import DIMENSIONS, strided_conv, transposed_conv
from jaxgen.models.layers import BatchNorm, at_least_float32, spectral_norm, timestep_embedding

Array = jax.Array

SMALLEST = 4  # side of the first feature map of the generator, the last of the discriminator
normal = nn.initializers.normal(0.02)


def num_levels(image_size: int) -> int:
    """How often 4 is doubled to make ``image_size``: 4 levels for 64 pixels, as in the tutorial.

    Raises:
      ValueError: if that is not a whole number above zero.
    """
    levels = (image_size // SMALLEST).bit_length() - 1
    if levels < 1 or SMALLEST * 2**levels != image_size:
        raise ValueError(
            f'DCGAN makes images of 8, 16, 32, 64 ... pixels (4 times a power of two), not of {image_size}'
        )
    return levels


class UpConv(nn.Module):
    """A transposed 4x4 convolution of stride 2 and padding 1 without bias: ``[N, H, W, C] -> [N, 2H, 2W, features]``.

    The kernel is PyTorch's, ``[4, 4, C, features]``.
    """

    features: int
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param('kernel', normal, (4, 4, x.shape[-1], self.features), self.param_dtype)
        return transposed_conv(x, kernel.astype(self.dtype))


class Generator(nn.Module):
    """``z [N, latent_size]`` and labels ``[N]`` to images ``[N, image_size, image_size, out_channels]`` in [-1, 1].

    At 64 pixels with base 64, latent 100 and 3 channels: 3,576,704 parameters. With ``num_classes`` an embedding of the
    label, of as many numbers as the latent but of length about 1 at the start, like a one-hot vector, is appended.
    """

    image_size: int
    out_channels: int
    base_channels: int = 64
    latent_size: int = 100
    num_classes: int = 0
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32
    momentum: float = 0.1

    @nn.compact
    def __call__(self, z: Array, label: Array, train: bool = False) -> Array:
        dtypes = {'dtype': self.dtype, 'param_dtype': self.param_dtype}

        def norm_relu(x: Array, level: int) -> Array:
            norm = BatchNorm(self.momentum, param_dtype=self.param_dtype, name=f'norm_{level}')
            return nn.relu(norm(x, train))

        x = z.astype(self.dtype)
        if self.num_classes:
            as_long_as_one_hot = nn.initializers.normal(self.latent_size**-0.5)
            embed = nn.Embed(
                self.num_classes, self.latent_size, embedding_init=as_long_as_one_hot, **dtypes, name='label'
            )
            x = jnp.concatenate([x, embed(label)], axis=1)
        levels = num_levels(self.image_size)
        width = self.base_channels * 2 ** (levels - 1)
        first = nn.DenseGeneral(
            (SMALLEST, SMALLEST, width), use_bias=False, kernel_init=normal, **dtypes, name='up_0'
        )  # of one pixel, a transposed convolution is a product
        x = norm_relu(first(x), 0)
        for level in range(1, levels):
            width //= 2
            x = norm_relu(UpConv(width, **dtypes, name=f'up_{level}')(x), level)
        x = UpConv(self.out_channels, **dtypes, name=f'up_{levels}')(x)
        return jnp.tanh(x.astype(at_least_float32(self.dtype)))


class DownConv(nn.Module):
    """A 4x4 convolution, its kernel divided by its spectral norm if asked for.

    It halves the side, with stride 2 and padding 1; or, ``to_one_pixel``, a 4x4 image becomes one pixel.
    """

    features: int
    use_bias: bool
    to_one_pixel: bool = False
    spectral_norm: bool = False
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        kernel = self.param('kernel', normal, (4, 4, x.shape[-1], self.features), self.param_dtype)
        if self.spectral_norm:
            kernel = _normalised(self, kernel, train)
        kernel = kernel.astype(self.dtype)
        if self.to_one_pixel:
            x = jax.lax.conv_general_dilated(x, kernel, (1, 1), 'VALID', dimension_numbers=DIMENSIONS)
        else:
            x = strided_conv(x, kernel)
        if self.use_bias:
            x += self.param('bias', nn.initializers.zeros, (self.features,), self.param_dtype).astype(self.dtype)
        return x


def _normalised(module: nn.Module, kernel: Array, train: bool) -> Array:
    """The kernel over its spectral norm; training moves the singular vector that is kept in 'spectral'."""
    start = lambda: jax.random.normal(module.make_rng('params'), (kernel.shape[-1],), kernel.dtype)  # noqa: E731
    vector = module.variable('spectral', 'u', start)
    kernel, u = spectral_norm(kernel, vector.value)
    if train and not module.is_initializing():
        vector.value = u
    return kernel


class Discriminator(nn.Module):
    """Images ``[N, image_size, image_size, C]`` to logits ``[N]``, high for real ones.

    At 64 pixels with base 64 and 3 channels: 2,765,568 parameters. What is known of the image, its label and the
    amount of noise on it, enters by projection (Miyato & Koyama 2018): the product of its embedding and the mean of the
    last feature map is added to the logit (the mean, not the sum: without spectral normalisation the label would drown
    the rest at the start).

    Attributes:
      batch_norm: normalises every level but the first, as the tutorial does; without it the convolutions have biases,
        or else the logit of a grey image, which is zero everywhere, would be zero for ever.
      spectral_norm: divides the kernel of every convolution by its spectral norm.
      num_classes: with labels if not 0.
      noise_levels: knows the time ``t`` (``[N]``, of noise as in Diffusion-GAN) if not 0.
    """

    image_size: int
    base_channels: int = 64
    batch_norm: bool = True
    spectral_norm: bool = False
    num_classes: int = 0
    noise_levels: int = 0
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, label: Array, t: Array | None = None, train: bool = False) -> Array:
        dtypes = {'dtype': self.dtype, 'param_dtype': self.param_dtype}
        x = x.astype(self.dtype)
        conv = {'use_bias': not self.batch_norm, 'spectral_norm': self.spectral_norm, **dtypes}
        levels = num_levels(self.image_size)
        for level in range(levels):
            width = self.base_channels * 2**level
            x = DownConv(width, **conv, name=f'down_{level}')(x, train)
            if self.batch_norm and level:
                x = BatchNorm(param_dtype=self.param_dtype, name=f'norm_{level}')(x, train)
            x = nn.leaky_relu(x, 0.2)
        logits = DownConv(1, to_one_pixel=True, **conv, name=f'down_{levels}')(x, train)[:, 0, 0, 0]

        known = []
        if self.num_classes:
            known.append(nn.Embed(self.num_classes, width, embedding_init=normal, **dtypes, name='label')(label))
        if self.noise_levels:
            y = timestep_embedding(t, self.base_channels, at_least_float32(self.dtype)).astype(self.dtype)
            y = nn.silu(nn.Dense(width, **dtypes, name='time_1')(y))
            known.append(nn.Dense(width, kernel_init=normal, **dtypes, name='time_2')(y))
        if known:
            logits += jnp.sum(sum(known) * jnp.mean(x, (1, 2)), axis=1)
        return logits.astype(at_least_float32(self.dtype))
