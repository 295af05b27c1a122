"""The vision transformer of DINOv2 (Oquab et al. 2023), whose features FD-DINOv2 uses (Stein et al. 2023)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxgen.models.layers import MakeLayer, attention
from jaxgen.models.published.pil_resize import bicubic_resize
from jaxgen.models.unet import fold
from jaxgen.types import Array, PyTree

IMAGE_SIZE = 224  # side in pixels to which images are resized
# Mean and standard deviation of each colour over ImageNet, for pixels in [0, 1]
MEAN, STD = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
POSITION_OFFSET = 0.1  # in patches, see DINOv2.position_offset
HIGHEST = jax.lax.Precision.HIGHEST  # TPUs and GPUs default to a lower precision


@dataclasses.dataclass(frozen=True)
class Size:
    """A size of a published network.

    Attributes:
      features: width of every block, and number of features.
      num_blocks: number of transformer blocks.
      num_heads: number of attention heads of every block.
    """

    features: int
    num_blocks: int
    num_heads: int


SIZES = {'base': Size(768, 12, 12), 'large': Size(1024, 24, 16)}  # ViT-B/14 and ViT-L/14


class Block(nn.Module):
    """A transformer block: self-attention, then an MLP, each of the normalised tokens, scaled by channel and added to them."""

    num_heads: int
    mlp_ratio: int

    @nn.compact
    def __call__(self, x: Float[Array, 'n tokens c']) -> Float[Array, 'n tokens c']:
        """Return the tokens after the block."""
        dense: MakeLayer = functools.partial(nn.Dense, precision=HIGHEST)
        c = x.shape[-1]
        query, key, value = jnp.split(dense(3 * c, name='qkv')(_norm('norm1', x)), 3, axis=-1)
        h = dense(c, name='out')(attention(query, key, value, self.num_heads, precision=HIGHEST))
        x += h * self.param('scale1', nn.initializers.ones, (c,))
        h = nn.gelu(dense(self.mlp_ratio * c, name='mlp1')(_norm('norm2', x)), approximate=False)
        h = dense(c, name='mlp2')(h)
        return x + h * self.param('scale2', nn.initializers.ones, (c,))


class DINOv2(nn.Module):
    """A vision transformer that maps normalised images of a whole number of patches to the features of the class token.

    The defaults are those of ViT-L/14, whose training ended at 518x518 pixels, which are 37x37 patches. Its position embeddings
    are resized to the number of patches of the image, bicubically and without antialiasing.

    Attributes:
      features: width of every block, and number of features.
      num_blocks: number of transformer blocks.
      num_heads: number of attention heads of every block.
      mlp_ratio: width of the MLPs, as a multiple of ``features``.
      patch_size: side p of the patches; each patch is one token.
      grid: number of rows and of columns of position embeddings.
      position_offset: number of patches that is added in the scale of the resize: n position embeddings result from a scale of
        ``(n + position_offset) / grid``. It is 0.1 in the authors' code, and therefore in published values of FD-DINOv2, and 0 in
        ``transformers``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxgen import models
      >>> x = jnp.zeros((1, 224, 224, 3))
      >>> jax.eval_shape(lambda key: models.DINOv2().init_with_output(key, x)[0], jax.random.key(0)).shape
      (1, 1024)
    """

    features: int = 1024
    num_blocks: int = 24
    num_heads: int = 16
    mlp_ratio: int = 4
    patch_size: int = 14
    grid: int = 37
    position_offset: float = POSITION_OFFSET

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w 3']) -> Float[Array, 'n features']:
        """Return the features of images that are normalised by the mean and standard deviation of ImageNet."""
        c = self.features
        h = nn.Dense(c, precision=HIGHEST, name='patches')(fold(x, self.patch_size))
        n, height, width, _ = h.shape
        small = nn.initializers.truncated_normal(0.02)
        class_token = self.param('class_token', small, (c,))
        class_position = self.param('class_position', small, (c,))
        h += self._positions(self.param('positions', small, (self.grid, self.grid, c)), height, width)
        first = jnp.broadcast_to(class_token + class_position, (n, 1, c))
        h = jnp.concatenate([first, h.reshape(n, height * width, c)], axis=1)
        for i in range(self.num_blocks):
            h = Block(self.num_heads, self.mlp_ratio, name=f'block{i}')(h)
        return _norm('norm', h[:, 0])

    def _positions(self, embeddings: Array, height: int, width: int) -> Array:
        if (height, width) == (self.grid, self.grid):
            return embeddings
        rows, columns = (position_weights(self.grid, size, self.position_offset) for size in (height, width))
        return jnp.einsum('ai,bj,ijc->abc', rows, columns, embeddings, precision=HIGHEST)


def _norm(name: str, x: Float[Array, '... c']) -> Float[Array, '... c']:
    """Return the layer norm of tokens; some have a channel so large that flax's fast variance would lose digits."""
    return nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, name=name)(x)


def position_weights(size: int, new_size: int, offset: float = 0.0) -> Float[np.ndarray, 'new_size size']:
    """Return the matrix that resizes a row of position embeddings as PyTorch's bicubic interpolation does.

    It applies Keys' filter with a = -3/4 around ``(i + 1/2) size / (new_size + offset) - 1/2``, without antialiasing. Beyond the
    ends of the row, the first and the last embedding are repeated.

    Args:
      size: number of embeddings.
      new_size: number of embeddings after the resize.
      offset: see ``DINOv2.position_offset``.
    """
    centres = (np.arange(new_size) + 0.5) * size / (new_size + offset) - 0.5
    low = np.floor(centres).astype(int)
    weights = np.zeros((new_size, size))
    for tap in range(-1, 3):
        x = np.abs(centres - (low + tap))
        inner = (1.25 * x - 2.25) * x * x + 1
        outer = -0.75 * (((x - 5) * x + 8) * x - 4)
        np.add.at(weights, (np.arange(new_size), np.clip(low + tap, 0, size - 1)), np.where(x <= 1, inner, outer))
    return weights.astype(np.float32)


def preprocess(images: UInt8[Array, 'n h w 3']) -> Float[Array, 'n 224 224 3']:
    """Resize and normalise images for DINOv2 as Stein et al. 2023 do.

    They are resized to 224x224 by PIL's antialiased bicubic filter and rounded to whole numbers, then scaled to [0, 1] and
    normalised by the mean and standard deviation of ImageNet.

    Args:
      images: images with values 0 .. 255.
    """
    x = bicubic_resize(images, IMAGE_SIZE, IMAGE_SIZE).astype(jnp.float32) / 255
    return (x - MEAN) / STD


def feature_function(
    network: DINOv2,
) -> Callable[[PyTree, UInt8[Array, 'n h w c']], tuple[Float[Array, 'n d'], None]]:
    """Return a function ``(variables, images) -> (features, None)`` for images of any size with one or three channels."""

    def apply(variables: PyTree, images: Array) -> tuple[Array, None]:
        found: PyTree = network.apply(variables, preprocess(jnp.broadcast_to(images, (*images.shape[:3], 3))))
        return found, None

    return apply
