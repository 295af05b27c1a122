"""The Inception network that defines FID: TensorFlow's graph of 2015-12-05, including its quirks."""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxgen.errors import pick
from jaxgen.types import Array, PyTree

IMAGE_SIZE = 299  # side in pixels to which images are resized
CLASSES = 1008
HIGHEST = jax.lax.Precision.HIGHEST  # TPUs and GPUs default to a lower precision


class Inception(nn.Module):
    """A network that maps images to the pooled features of FID and to class logits.

    Every convolution is followed by batch norm and ReLU; the batch norm is folded into kernel and bias (see
    ``inception_weights.py``). This graph differs from the published architecture in three ways: average pooling does not count
    the padding, the last block uses max pooling, and the logits have no bias, as in the Inception Score.

    Attributes:
      classifier: whether the network has weights for the logits; without them the logits are None.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxgen import models
      >>> x = jnp.zeros((1, 299, 299, 3))
      >>> output = jax.eval_shape(lambda key: models.Inception().init_with_output(key, x)[0], jax.random.key(0))
      >>> output[0].shape
      (1, 2048)
    """

    classifier: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, 'n 299 299 3']) -> tuple[Float[Array, 'n 2048'], Float[Array, 'n 1008'] | None]:
        """Return the features and logits of images in [-1, 1]."""

        def conv(name: str, x: Array, features: int, size=(1, 1), stride: int = 1, same: bool = True) -> Array:
            layer: Callable[..., Array]
            if size == (1, 1):  # on CPUs a matrix product is faster than XLA's 1x1 convolution
                layer = nn.Dense(features, precision=HIGHEST, name=name)
            else:
                layer = nn.Conv(features, size, stride, 'SAME' if same else 'VALID', precision=HIGHEST, name=name)
            return nn.relu(layer(x))

        x = conv('Conv2d_1a_3x3', x, 32, (3, 3), stride=2, same=False)
        x = conv('Conv2d_2a_3x3', x, 32, (3, 3), same=False)
        x = conv('Conv2d_2b_3x3', x, 64, (3, 3))
        x = _max_pool(x)
        x = conv('Conv2d_3b_1x1', x, 80)
        x = conv('Conv2d_4a_3x3', x, 192, (3, 3), same=False)
        x = _max_pool(x)
        for block, pooled in (('Mixed_5b', 32), ('Mixed_5c', 64), ('Mixed_5d', 64)):
            x = _block_a(functools.partial(_named, conv, block), x, pooled)
        x = _block_b(functools.partial(_named, conv, 'Mixed_6a'), x)
        for block, width in (('Mixed_6b', 128), ('Mixed_6c', 160), ('Mixed_6d', 160), ('Mixed_6e', 192)):
            x = _block_c(functools.partial(_named, conv, block), x, width)
        x = _block_d(functools.partial(_named, conv, 'Mixed_7a'), x)
        x = _block_e(functools.partial(_named, conv, 'Mixed_7b'), x, _avg_pool)
        x = _block_e(functools.partial(_named, conv, 'Mixed_7c'), x, lambda x: _max_pool(x, stride=1, padding=1))
        features = jnp.mean(x, axis=(1, 2))
        if not self.classifier:
            return features, None
        return features, nn.Dense(CLASSES, use_bias=False, precision=HIGHEST, name='fc')(features)


def _named(conv, block: str, branch: str, *args, **kwargs) -> Array:
    return conv(f'{block}.{branch}', *args, **kwargs)


def _join(*branches: Array) -> Array:
    return jnp.concatenate(branches, axis=-1)


def _block_a(conv, x: Array, pooled: int) -> Array:
    narrow = conv('branch1x1', x, 64)
    five = conv('branch5x5_2', conv('branch5x5_1', x, 48), 64, (5, 5))
    three = conv('branch3x3dbl_2', conv('branch3x3dbl_1', x, 64), 96, (3, 3))
    three = conv('branch3x3dbl_3', three, 96, (3, 3))
    return _join(narrow, five, three, conv('branch_pool', _avg_pool(x), pooled))


def _block_b(conv, x: Array) -> Array:
    once = conv('branch3x3', x, 384, (3, 3), stride=2, same=False)
    twice = conv('branch3x3dbl_2', conv('branch3x3dbl_1', x, 64), 96, (3, 3))
    twice = conv('branch3x3dbl_3', twice, 96, (3, 3), stride=2, same=False)
    return _join(once, twice, _max_pool(x))


def _block_c(conv, x: Array, width: int) -> Array:
    narrow = conv('branch1x1', x, 192)
    once = conv('branch7x7_2', conv('branch7x7_1', x, width), width, (1, 7))
    once = conv('branch7x7_3', once, 192, (7, 1))
    twice = conv('branch7x7dbl_2', conv('branch7x7dbl_1', x, width), width, (7, 1))
    twice = conv('branch7x7dbl_3', twice, width, (1, 7))
    twice = conv('branch7x7dbl_4', twice, width, (7, 1))
    twice = conv('branch7x7dbl_5', twice, 192, (1, 7))
    return _join(narrow, once, twice, conv('branch_pool', _avg_pool(x), 192))


def _block_d(conv, x: Array) -> Array:
    three = conv('branch3x3_2', conv('branch3x3_1', x, 192), 320, (3, 3), stride=2, same=False)
    seven = conv('branch7x7x3_2', conv('branch7x7x3_1', x, 192), 192, (1, 7))
    seven = conv('branch7x7x3_3', seven, 192, (7, 1))
    seven = conv('branch7x7x3_4', seven, 192, (3, 3), stride=2, same=False)
    return _join(three, seven, _max_pool(x))


def _block_e(conv, x: Array, pool) -> Array:
    narrow = conv('branch1x1', x, 320)
    once = conv('branch3x3_1', x, 384)
    once = _join(conv('branch3x3_2a', once, 384, (1, 3)), conv('branch3x3_2b', once, 384, (3, 1)))
    twice = conv('branch3x3dbl_2', conv('branch3x3dbl_1', x, 448), 384, (3, 3))
    twice = _join(conv('branch3x3dbl_3a', twice, 384, (1, 3)), conv('branch3x3dbl_3b', twice, 384, (3, 1)))
    return _join(narrow, once, twice, conv('branch_pool', pool(x), 192))


def _shifts(x: Array, stride: int, padding: int, fill: float) -> list[Array]:
    """Return nine shifted views for pooling over 3x3 windows, since XLA's own pooling is several times slower on a CPU."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=fill)
    height, width = ((side - 3) // stride * stride + 1 for side in x.shape[1:3])
    return [x[:, i : i + height : stride, j : j + width : stride] for i in range(3) for j in range(3)]


def _max_pool(x: Array, stride: int = 2, padding: int = 0) -> Array:
    return functools.reduce(jnp.maximum, _shifts(x, stride, padding, -jnp.inf))


def _avg_pool(x: Array) -> Array:
    """Average over 3x3 windows with stride 1, counting only the pixels inside the image."""
    total = functools.reduce(jnp.add, _shifts(x, 1, 1, 0.0))
    inside = functools.reduce(np.add, _shifts_of_ones(x.shape[1], x.shape[2]))
    return total / inside[None, :, :, None]


def _shifts_of_ones(height: int, width: int) -> list[np.ndarray]:
    ones = np.pad(np.ones((height, width), np.float32), 1)
    return [ones[i : i + height, j : j + width] for i in range(3) for j in range(3)]


def tf1_resize(images: UInt8[Array, 'n h w 3']) -> Float[Array, 'n 299 299 3']:
    """Resize images as the graph of 2015 does, and scale them to [-1, 1].

    TensorFlow 1's bilinear resize has neither half-pixel centres nor antialiasing: output pixel i lies at position
    ``i H / 299`` of the input. The values become ``(x - 128) / 128``.

    Args:
      images: images with values 0 .. 255.

    Returns:
      float32 in [-1, 1].
    """
    x = images.astype(jnp.float32)
    for axis in (1, 2):
        x = _resize_tf1(x, axis)
    return (x - 128) / 128


def _resize_tf1(x: Array, axis: int) -> Array:
    size = x.shape[axis]
    at = np.arange(IMAGE_SIZE, dtype=np.float32) * np.float32(size / IMAGE_SIZE)
    low = np.floor(at).astype(np.int32)
    high = np.minimum(low + 1, size - 1)
    shape = [1] * x.ndim
    shape[axis] = IMAGE_SIZE
    part = (at - low).reshape(shape)
    below = jnp.take(x, low, axis)
    return below + (jnp.take(x, high, axis) - below) * part


def clean_resize(images: UInt8[Array, 'n h w 3']) -> Float[Array, 'n 299 299 3']:
    """Resize images as clean-FID does (Parmar et al. 2022), and scale them to [-1, 1].

    The filter is PIL's antialiased bicubic filter; its result is clipped to 0 .. 255 but not rounded.

    Args:
      images: images with values 0 .. 255.

    Returns:
      float32 in [-1, 1].
    """
    n, _, _, c = images.shape
    shape = (n, IMAGE_SIZE, IMAGE_SIZE, c)
    x = jax.image.resize(images.astype(jnp.float32), shape, 'cubic', antialias=True, precision=HIGHEST)
    return (jnp.clip(x, 0, 255) - 128) / 128


RESIZES = {'tf1': tf1_resize, 'clean': clean_resize}


def feature_function(
    resize: str = 'tf1', classifier: bool = True
) -> Callable[[PyTree, UInt8[Array, 'n h w c']], tuple[Float[Array, 'n 2048'], Float[Array, 'n 1008'] | None]]:
    """Return a function ``(variables, images) -> (features, logits)`` for images of any size with one or three channels.

    Args:
      resize: ``tf1``, the resize of published FIDs, or ``clean``, the antialiased resize of clean-FID.
      classifier: whether the variables contain the weights of the logits; without them the logits are None.

    Raises:
      UserError: if ``resize`` has another value.
    """
    network = Inception(classifier=classifier)
    preprocess = RESIZES[pick(resize, RESIZES, 'resize')]

    def apply(variables: PyTree, images: Array) -> tuple[Array, Array | None]:
        found: PyTree = network.apply(variables, preprocess(jnp.broadcast_to(images, (*images.shape[:3], 3))))
        return found

    return apply
