"""Penalties on the gradient of the discriminator."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgen.types import Array

__all__ = ['r1']


def r1(
    discriminator: Callable[[Float[Array, 'n h w c']], Float[Array, ' n']],
    images: Float[Array, 'n h w c'],
    gamma: float,
) -> Float[Array, '']:
    """Return the R1 penalty ``gamma / 2 E |grad_x D(x)|^2`` (Mescheder et al. 2018, equation 9).

    Args:
      discriminator: returns the logits of images. If they depend on the whole batch, as with batch normalisation, the gradient
        is that of their sum.
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
    gradient = jax.grad(lambda x: jnp.sum(discriminator(x)))(images)
    return gamma / 2 * jnp.mean(jnp.sum(jnp.square(gradient), axis=tuple(range(1, images.ndim))))
