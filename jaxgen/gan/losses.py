"""What generator and discriminator minimise."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class Loss(NamedTuple):
    """The two sides of a game on logits ``[N]``, high for real: each function gives a scalar, the mean over examples.

    The discriminator minimises ``real(D(x)) + fake(D(G(z)))``, the generator ``generator(D(G(z)))``.
    """

    real: Callable[[Array], Array]
    fake: Callable[[Array], Array]
    generator: Callable[[Array], Array]


def _minus_log_sigmoid(logits: Array) -> Array:
    return jnp.mean(jax.nn.softplus(-logits))


def _minus_log_one_minus_sigmoid(logits: Array) -> Array:
    return jnp.mean(jax.nn.softplus(logits))


# Binary cross entropy with the labels swapped for the generator: -log D(x), -log(1 - D(G(z))), -log D(G(z))
# (Goodfellow et al. 2014, section 3; the PyTorch tutorial's).
NON_SATURATING = Loss(_minus_log_sigmoid, _minus_log_one_minus_sigmoid, _minus_log_sigmoid)

# max(0, 1 - D(x)), max(0, 1 + D(G(z))), -D(G(z)) (Lim & Ye 2017; Miyato et al. 2018).
HINGE = Loss(
    lambda logits: jnp.mean(jax.nn.relu(1 - logits)),
    lambda logits: jnp.mean(jax.nn.relu(1 + logits)),
    lambda logits: -jnp.mean(logits),
)

LOSSES = {'non_saturating': NON_SATURATING, 'hinge': HINGE}


def r1_penalty(critic: Callable[[Array], Array], images: Array, gamma: float) -> Array:
    """``gamma / 2 E |grad_x D(x)|^2`` on real images ``[N, ...]`` (Mescheder et al. 2018, equation 9).

    ``critic`` gives the logits ``[N]``. Where they depend on the batch (batch normalisation), the gradient is that of
    their sum.
    """
    gradient = jax.grad(lambda x: jnp.sum(critic(x)))(images)
    return gamma / 2 * jnp.mean(jnp.sum(jnp.square(gradient), axis=tuple(range(1, images.ndim))))
