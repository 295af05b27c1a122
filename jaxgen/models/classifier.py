"""A small, fast classifier after airbench94 (Jordan 2024, arXiv:2404.00498), for images of one or three channels."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgen.models.layers import BatchNorm, at_least_float32
from jaxgen.types import Array, Dtype, Fields, PyTree

LOGIT_SCALE = 1 / 9
NORM_MOMENTUM = 0.4  # share of the running statistics that each batch replaces (PyTorch's convention)

# PyTorch's default: uniform between -1/sqrt(fan_in) and 1/sqrt(fan_in).
uniform = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


def smallest_image(blocks: int) -> int:
    """Return the smallest side that a classifier accepts: the first layer removes one pixel, and each block halves the rest."""
    return 2**blocks + 1


def patch_basis(channels: int) -> np.ndarray:
    """Return an orthonormal basis of patches of 2x2 pixels, as a kernel: float64 ``[2, 2, channels, 4 * channels]``.

    It is the product of the Haar basis of the pixels (their mean, and differences of rows and columns) and a basis of the
    colours (brightness, red minus green, yellow minus blue), and close to the principal components of photographs.

    Args:
      channels: 1 or 3.
    """
    pair = np.array([[1, 1], [1, -1]]) / 2**0.5
    opponents = {1: [[1]], 3: [[1, 1, 1], [1, -1, 0], [1, 1, -2]]}[channels]
    colours = np.array([np.array(c) / np.linalg.norm(c) for c in opponents])
    return np.einsum('ay,bx,ok->yxkabo', pair, pair, colours).reshape(2, 2, channels, 4 * channels)


def identity(key: Array, shape: tuple[int, ...], dtype) -> Array:
    """Initialise a kernel whose filters each copy one input channel; additional filters are initialised by ``uniform``."""
    height, width, inputs, outputs = shape
    copies = np.zeros(shape, bool)
    for channel in range(min(inputs, outputs)):
        copies[height // 2, width // 2, channel, channel] = True
    random = jnp.arange(outputs) >= inputs
    return jnp.where(random, uniform(key, shape, dtype), jnp.asarray(copies, dtype))


def halved(x: Float[Array, 'n h w c']) -> Float[Array, 'n h2 w2 c']:
    """Return the maximum over each block of 2x2 pixels; an odd last row or column is left out.

    It computes maxima of slices, because XLA's gradient of a pooling window is many times slower on a CPU.
    """
    n, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
    rows = jnp.maximum(x[:, :, 0], x[:, :, 1])
    return jnp.maximum(rows[:, :, :, 0], rows[:, :, :, 1])


def variable_shapes(network: Classifier, image_shape: tuple[int, int, int]) -> dict[str, PyTree]:
    """Return the shapes of the variables of a network for images ``[H, W, C]``, without computing anything."""
    return jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *image_shape)))


class Classifier(nn.Module):
    """A classifier that maps images in [-1, 1] to features and logits.

    airbench94 whitens patches of 2x2 pixels with the principal components of the data. Here a fixed basis replaces these, and
    a normalisation scales each component to unit variance. The network has 1,971,328 parameters for ten classes of colour
    images and the default widths.

    Attributes:
      num_classes: number of logits.
      widths: number of channels of each block; each block halves the side. The last width is the number of features.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxgen import models
      >>> params = jax.eval_shape(models.Classifier(10).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))['params']
      >>> sum(p.size for p in jax.tree.leaves(params))
      1971328
    """

    num_classes: int
    widths: tuple[int, ...] = (64, 256, 256)
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, 'n h w c'], train: bool = False
    ) -> tuple[Float[Array, 'n features'], Float[Array, 'n classes']]:
        """Return the features and the logits of images in [-1, 1]."""
        exact = at_least_float32(self.dtype)

        def norm(x: Array, name: str, use_bias: bool = True) -> Array:
            settings: Fields = {
                'epsilon': 1e-12,
                'use_scale': False,
                'use_bias': use_bias,
                'param_dtype': self.param_dtype,
            }
            return BatchNorm(NORM_MOMENTUM, **settings, name=name)(x, train)

        def conv(x: Array, width: int, name: str) -> Array:
            settings: Fields = {'use_bias': False, 'kernel_init': identity, 'dtype': self.dtype}
            return nn.Conv(width, (3, 3), **settings, param_dtype=self.param_dtype, name=name)(x)

        def gelu(x: Array) -> Array:
            return jax.nn.gelu(x, approximate=False)

        basis = jnp.asarray(patch_basis(x.shape[-1]), exact)
        patches = jax.lax.conv_general_dilated(
            x.astype(exact), basis, (1, 1), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )
        x = norm(patches, 'whiten', use_bias=False).astype(self.dtype)
        x = gelu(jnp.concatenate([x, -x], axis=-1))
        for i, width in enumerate(self.widths):
            x = gelu(norm(halved(conv(x, width, f'conv_{i}_0')), f'norm_{i}_0'))
            x = gelu(norm(conv(x, width, f'conv_{i}_1'), f'norm_{i}_1'))
        features = jnp.max(x, (1, 2)).astype(exact)
        head = nn.Dense(
            self.num_classes,
            use_bias=False,
            kernel_init=uniform,
            dtype=exact,
            param_dtype=self.param_dtype,
            name='head',
        )
        return features, head(features) * LOGIT_SCALE
