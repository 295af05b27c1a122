"""Differentiable augmentation (Zhao et al. 2020): random changes of real and generated images for the discriminator.

Images are in [-1, 1], where grey is zero. The first five functions take the random numbers of each image as an argument.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxgen.types import Array

__all__ = ['AUGMENTATIONS', 'augment', 'brightness', 'contrast', 'cutout', 'saturation', 'translation']

Images = Float[Array, 'n h w c']


def brightness(images: Images, shift: Float[Array, ' n']) -> Images:
    """Add a number to every value of each image.

    Args:
      images: images in [-1, 1].
      shift: the number that is added to each image, in [-1/2, 1/2].

    Returns:
      ``images + shift``.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import gan
      >>> gan.augment.brightness(jnp.zeros((2, 1, 1, 1)), jnp.array([0.25, -0.5])).ravel().tolist()
      [0.25, -0.5]
    """
    return images + shift[:, None, None, None]


def saturation(images: Images, factor: Float[Array, ' n']) -> Images:
    """Multiply the difference between every channel and the mean of its pixel by a factor.

    Args:
      images: images in [-1, 1].
      factor: the factor of each image, in [0, 2].

    Returns:
      The images with a different saturation and the same brightness.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import gan
      >>> pixel = jnp.array([0.5, 0.0, -0.5]).reshape(1, 1, 1, 3)
      >>> gan.augment.saturation(pixel, jnp.array([2.0])).ravel().tolist()
      [1.0, 0.0, -1.0]
    """
    grey = jnp.mean(images, axis=3, keepdims=True)
    return (images - grey) * factor[:, None, None, None] + grey


def contrast(images: Images, factor: Float[Array, ' n']) -> Images:
    """Multiply the difference between every value and the mean of its image by a factor.

    Args:
      images: images in [-1, 1].
      factor: the factor of each image, in [1/2, 3/2].

    Returns:
      The images with a different contrast and the same mean.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import gan
      >>> image = jnp.array([0.5, -0.5]).reshape(1, 1, 2, 1)
      >>> gan.augment.contrast(image, jnp.array([0.5])).ravel().tolist()
      [0.25, -0.25]
    """
    mean = jnp.mean(images, axis=(1, 2, 3), keepdims=True)
    return (images - mean) * factor[:, None, None, None] + mean


def translation(images: Images, shift: Int[Array, 'n 2']) -> Images:
    """Move images down and to the right by whole pixels, and fill the borders with zeros.

    Args:
      images: images in [-1, 1].
      shift: numbers of rows and columns by which each image moves.

    Returns:
      The moved images, of the same size.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import gan
      >>> image = jnp.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
      >>> gan.augment.translation(image, jnp.array([[0, 1]])).ravel().tolist()
      [0.0, 1.0, 2.0]
    """
    n, h, w, _ = images.shape

    def sources(size: int, shift: Array) -> tuple[Array, Array]:
        at = jnp.arange(size) - shift[:, None]
        return jnp.clip(at, 0, size - 1), (at >= 0) & (at < size)

    (y, y_inside), (x, x_inside) = sources(h, shift[:, 0]), sources(w, shift[:, 1])
    moved = images[jnp.arange(n)[:, None, None], y[:, :, None], x[:, None, :]]
    return jnp.where((y_inside[:, :, None] & x_inside[:, None, :])[..., None], moved, 0)


def cutout(images: Images, centre: Int[Array, 'n 2']) -> Images:
    """Set a square of half the image's side to zero; parts of it may lie outside the image.

    Args:
      images: images in [-1, 1].
      centre: row and column of the centre of each image's square.

    Returns:
      The images with the squares.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import gan
      >>> gan.augment.cutout(jnp.ones((1, 4, 4, 1)), jnp.array([[1, 1]]))[0, :, :, 0].tolist()
      [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
    """
    _, h, w, _ = images.shape

    def inside(size: int, centre: Array) -> Array:
        side = int(size / 2 + 0.5)
        first = centre[:, None] - side // 2
        return (jnp.arange(size) >= first) & (jnp.arange(size) < first + side)

    hole = inside(h, centre[:, 0])[:, :, None] & inside(w, centre[:, 1])[:, None, :]
    return jnp.where(hole[..., None], 0, images)


def _random_color(key: Array, images: Images) -> Images:
    b, s, c = jax.random.uniform(key, (3, len(images)), images.dtype)
    return contrast(saturation(brightness(images, b - 0.5), 2 * s), c + 0.5)


def _random_translation(key: Array, images: Images) -> Images:
    _, h, w, _ = images.shape
    most = jnp.array([int(h / 8 + 0.5), int(w / 8 + 0.5)])  # an eighth of the side
    return translation(images, jax.random.randint(key, (len(images), 2), -most, most + 1))


def _random_cutout(key: Array, images: Images) -> Images:
    _, h, w, _ = images.shape
    end = jnp.array([size + 1 - int(size / 2 + 0.5) % 2 for size in (h, w)])
    return cutout(images, jax.random.randint(key, (len(images), 2), 0, end))


AUGMENTATIONS = {'color': _random_color, 'translation': _random_translation, 'cutout': _random_cutout}


def augment(key: Array, images: Images, policy: Sequence[str]) -> Images:
    """Augment images with independent random numbers for every image.

    Args:
      key: random key.
      images: images in [-1, 1].
      policy: names in ``AUGMENTATIONS``, applied in this order.

    Returns:
      The augmented images.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxgen import gan
      >>> images = jnp.zeros((2, 8, 8, 3))
      >>> gan.augment.augment(jax.random.key(0), images, ['color', 'translation', 'cutout']).shape
      (2, 8, 8, 3)
    """
    for i, name in enumerate(policy):
        images = AUGMENTATIONS[name](jax.random.fold_in(key, i), images)
    return images
