"""Penalties on the gradients of the discriminator."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgen.types import Array

__all__ = ['gradient_penalty', 'logits_and_squared_gradients', 'r1']

Discriminator = Callable[[Float[Array, 'n h w c']], Float[Array, ' n']]


def logits_and_squared_gradients(
    discriminator: Discriminator, images: Float[Array, 'n h w c']
) -> tuple[Float[Array, ' n'], Float[Array, ' n']]:
    """Return the logits of images, and ``|grad_x D(x)|^2`` of each, in one forward and one backward pass.

    Args:
      discriminator: function that returns the logits of images. If a logit depends on the whole batch, as with batch norm, the
        gradient is the gradient of the sum of all logits.
      images: real or generated images.

    Returns:
      The logits, and the squared norm of the gradient of each with respect to its image.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import gan
      >>> def discriminator(x):
      ...     return 3.0 * x[:, 0, 0, 0]
      >>> logits, squared = gan.penalties.logits_and_squared_gradients(discriminator, jnp.ones((2, 1, 1, 1)))
      >>> logits.tolist(), squared.tolist()
      ([3.0, 3.0], [9.0, 9.0])
    """
    logits, backward = jax.vjp(discriminator, images)
    (gradient,) = backward(jnp.ones_like(logits))
    return logits, jnp.sum(jnp.square(gradient), axis=tuple(range(1, images.ndim)))


def gradient_penalty(discriminator: Discriminator, images: Float[Array, 'n h w c'], gamma: float) -> Float[Array, '']:
    """Return the zero-centred gradient penalty ``gamma / 2 E |grad_x D(x)|^2`` (Mescheder et al. 2018).

    On real images it is R1, equation 9 of the paper, and on generated images R2, equation 10.

    Args:
      discriminator: function that returns the logits of images, see ``logits_and_squared_gradients``.
      images: real or generated images.
      gamma: weight of the penalty.

    Returns:
      The penalty, a mean over the images.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import gan
      >>> def discriminator(x):
      ...     return 3.0 * x[:, 0, 0, 0]
      >>> float(gan.penalties.gradient_penalty(discriminator, jnp.zeros((2, 1, 1, 1)), gamma=2.0))
      9.0
    """
    _, squared = logits_and_squared_gradients(discriminator, images)
    return gamma / 2 * jnp.mean(squared)


def r1(discriminator: Discriminator, images: Float[Array, 'n h w c'], gamma: float) -> Float[Array, '']:
    """Return the R1 penalty: ``gradient_penalty`` on real images.

    Args:
      discriminator: function that returns the logits of images, see ``logits_and_squared_gradients``.
      images: real images.
      gamma: weight of the penalty.

    Returns:
      The penalty, a mean over the images.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import gan
      >>> def discriminator(x):
      ...     return 3.0 * x[:, 0, 0, 0]
      >>> float(gan.penalties.r1(discriminator, jnp.zeros((2, 1, 1, 1)), gamma=2.0))
      9.0
    """
    return gradient_penalty(discriminator, images, gamma)
