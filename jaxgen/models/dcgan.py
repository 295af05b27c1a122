"""The networks of DCGAN (Radford et al. 2016), as in the PyTorch tutorial.

Images have a side of 8, 16, 32, 64 ... pixels. Class labels are optional.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxgen.models.convolutions import DIMENSIONS, strided_conv, transposed_conv
from jaxgen.models.layers import BatchNorm, at_least_float32, spectral_norm, timestep_embedding
from jaxgen.types import Array, Dtype, Fields

SMALLEST = 4  # side of the generator's first feature map and of the discriminator's last one
normal = nn.initializers.normal(0.02)


def num_levels(image_size: int) -> int:
    """Return how many times 4 has to be doubled to give ``image_size``: 4 times for 64 pixels, as in the tutorial.

    Raises:
      ValueError: if ``image_size`` is not 4 times a power of two, or is below 8.
    """
    levels = (image_size // SMALLEST).bit_length() - 1
    if levels < 1 or SMALLEST * 2**levels != image_size:
        raise ValueError(
            f'DCGAN makes images of 8, 16, 32, 64 ... pixels (4 times a power of two), not of {image_size}'
        )
    return levels


class UpConv(nn.Module):
    """A transposed 4x4 convolution with stride 2 and padding 1 and without bias, which doubles the side.

    The kernel has the shape ``[4, 4, C, features]`` and is applied as in PyTorch.
    """

    features: int
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w c']) -> Float[Array, 'n h2 w2 features']:
        """Return the feature map of twice the side."""
        kernel = self.param('kernel', normal, (4, 4, x.shape[-1], self.features), self.param_dtype)
        return transposed_conv(x, kernel.astype(self.dtype))


class Generator(nn.Module):
    """A generator, which turns latents and class labels into images in [-1, 1].

    It has 3,576,704 parameters for 64 pixels, 3 channels, 64 base channels and latents of 100 numbers.

    Attributes:
      image_size: side of the images in pixels.
      base_channels: number of channels of the largest feature map before the image.
      latent_size: length of the latent.
      num_classes: number of classes; 0 for an unconditional network. Otherwise an embedding of the label is appended to the
        latent. It is as long as the latent, and its norm is about 1 at the start, like that of a one-hot vector.
      momentum: share of the running statistics that each batch replaces.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxgen import models
      >>> z, label = jnp.zeros((2, 100)), jnp.zeros(2, int)
      >>> network = models.Generator(image_size=64, out_channels=3)
      >>> jax.eval_shape(lambda key: network.init_with_output(key, z, label)[0], jax.random.key(0)).shape
      (2, 64, 64, 3)
    """

    image_size: int
    out_channels: int
    base_channels: int = 64
    latent_size: int = 100
    num_classes: int = 0
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32
    momentum: float = 0.1

    @nn.compact
    def __call__(self, z: Float[Array, 'n z'], label: Int[Array, ' n'], train: bool = False) -> Float[Array, 'n h w c']:
        """Return the images for latents and class labels; an unconditional network ignores the labels."""
        dtypes: Fields = {'dtype': self.dtype, 'param_dtype': self.param_dtype}

        def norm_relu(x: Array, level: int) -> Array:
            norm = BatchNorm(self.momentum, param_dtype=self.param_dtype, name=f'norm_{level}')
            return nn.relu(norm(x, train))

        x = z.astype(self.dtype)
        if self.num_classes:
            unit_norm = nn.initializers.normal(self.latent_size**-0.5)
            embed = nn.Embed(self.num_classes, self.latent_size, embedding_init=unit_norm, **dtypes, name='label')
            x = jnp.concatenate([x, embed(label)], axis=1)
        levels = num_levels(self.image_size)
        width = self.base_channels * 2 ** (levels - 1)
        first = nn.DenseGeneral(
            (SMALLEST, SMALLEST, width), use_bias=False, kernel_init=normal, **dtypes, name='up_0'
        )  # the transposed convolution of a single pixel is a matrix product
        x = norm_relu(first(x), 0)
        for level in range(1, levels):
            width //= 2
            x = norm_relu(UpConv(width, **dtypes, name=f'up_{level}')(x), level)
        x = UpConv(self.out_channels, **dtypes, name=f'up_{levels}')(x)
        return jnp.tanh(x.astype(at_least_float32(self.dtype)))


class DownConv(nn.Module):
    """A 4x4 convolution with stride 2 and padding 1, which halves the side.

    Attributes:
      features: number of output channels.
      use_bias: whether the convolution has a bias.
      to_one_pixel: whether to reduce a 4x4 feature map to one pixel instead, without stride and padding.
      spectral_norm: whether to divide the kernel by its spectral norm.
    """

    features: int
    use_bias: bool
    to_one_pixel: bool = False
    spectral_norm: bool = False
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w c'], train: bool) -> Float[Array, 'n h2 w2 features']:
        """Return the feature map of half the side."""
        kernel = self.param('kernel', normal, (4, 4, x.shape[-1], self.features), self.param_dtype)
        if self.spectral_norm:
            kernel = _spectrally_normalised(self, kernel, train)
        kernel = kernel.astype(self.dtype)
        if self.to_one_pixel:
            x = jax.lax.conv_general_dilated(x, kernel, (1, 1), 'VALID', dimension_numbers=DIMENSIONS)
        else:
            x = strided_conv(x, kernel)
        if self.use_bias:
            x += self.param('bias', nn.initializers.zeros, (self.features,), self.param_dtype).astype(self.dtype)
        return x


def _spectrally_normalised(module: nn.Module, kernel: Array, train: bool) -> Array:
    """Return the kernel divided by its spectral norm; training updates the singular vector in the collection 'spectral'."""
    random_vector = lambda: jax.random.normal(module.make_rng('params'), (kernel.shape[-1],), kernel.dtype)  # noqa: E731
    vector = module.variable('spectral', 'u', random_vector)
    kernel, u = spectral_norm(kernel, vector.value)
    if train and not module.is_initializing():
        vector.value = u
    return kernel


class Discriminator(nn.Module):
    """A discriminator, whose logits are high for real images.

    It has 2,765,568 parameters for 64 pixels, 3 channels and 64 base channels. The label and the timestep of the noise enter
    by projection (Miyato & Koyama 2018): the product of their embedding and the mean of the last feature map is added to the
    logit. The mean replaces the sum, because without spectral normalisation the label would dominate at the start.

    Attributes:
      image_size: side of the images in pixels.
      base_channels: number of channels of the first feature map.
      batch_norm: whether to normalise every level but the first, as the tutorial does. Without batch norm the convolutions have
        biases, since otherwise the logit of a grey image, which is zero everywhere, would always be zero.
      spectral_norm: whether to divide the kernel of every convolution by its spectral norm.
      num_classes: number of classes; 0 for a network that ignores labels.
      noise_levels: number of timesteps of the noise of Diffusion-GAN; 0 for a network that ignores the timestep ``t``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxgen import models
      >>> images, label = jnp.zeros((2, 64, 64, 3)), jnp.zeros(2, int)
      >>> network = models.Discriminator(image_size=64)
      >>> jax.eval_shape(lambda key: network.init_with_output(key, images, label)[0], jax.random.key(0)).shape
      (2,)
    """

    image_size: int
    base_channels: int = 64
    batch_norm: bool = True
    spectral_norm: bool = False
    num_classes: int = 0
    noise_levels: int = 0
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, 'n h w c'],
        label: Int[Array, ' n'],
        t: Int[Array, ' n'] | None = None,
        train: bool = False,
    ) -> Float[Array, ' n']:
        """Return the logits of images; a network without classes or noise levels ignores the labels or the timesteps."""
        dtypes: Fields = {'dtype': self.dtype, 'param_dtype': self.param_dtype}
        x = x.astype(self.dtype)
        conv: Fields = {'use_bias': not self.batch_norm, 'spectral_norm': self.spectral_norm, **dtypes}
        levels = num_levels(self.image_size)
        for level in range(levels):
            width = self.base_channels * 2**level
            x = DownConv(width, **conv, name=f'down_{level}')(x, train)
            if self.batch_norm and level:
                x = BatchNorm(param_dtype=self.param_dtype, name=f'norm_{level}')(x, train)
            x = nn.leaky_relu(x, 0.2)
        logits = DownConv(1, to_one_pixel=True, **conv, name=f'down_{levels}')(x, train)[:, 0, 0, 0]

        embeddings = []
        if self.num_classes:
            embeddings.append(nn.Embed(self.num_classes, width, embedding_init=normal, **dtypes, name='label')(label))
        if self.noise_levels:
            if t is None:
                raise ValueError('t is not given: this discriminator takes the timestep of the noise')
            y = timestep_embedding(t, self.base_channels, at_least_float32(self.dtype)).astype(self.dtype)
            y = nn.silu(nn.Dense(width, **dtypes, name='time_1')(y))
            embeddings.append(nn.Dense(width, kernel_init=normal, **dtypes, name='time_2')(y))
        if embeddings:
            logits += jnp.sum(sum(embeddings) * jnp.mean(x, (1, 2)), axis=1)
        return logits.astype(at_least_float32(self.dtype))
