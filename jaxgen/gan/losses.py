"""Losses of the discriminator and of the generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgen.types import Array

__all__ = ['HINGE', 'LOSSES', 'NON_SATURATING', 'RELATIVISTIC', 'Loss', 'PairingLoss']

Logits = Float[Array, ' n']
Scalar = Float[Array, '']


class Loss(NamedTuple):
    """A set of losses for both networks, as functions of logits that are high for real images; each is a mean over images.

    Attributes:
      real, fake: the discriminator minimises ``real(D(x)) + fake(D(G(z)))``.
      generator: the generator minimises ``generator(D(G(z)))``.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import gan
      >>> float(gan.HINGE.generator(jnp.array([2.0, -1.0])))
      -0.5
    """

    real: Callable[[Logits], Scalar]
    fake: Callable[[Logits], Scalar]
    generator: Callable[[Logits], Scalar]


class PairingLoss(NamedTuple):
    """A set of losses for both networks, as functions of the logits of real images and of the same number of generated images.

    Real image i is compared with generated image i. Each loss is a mean over these pairs.

    Attributes:
      discriminator: the discriminator minimises ``discriminator(D(x), D(G(z)))``.
      generator: the generator minimises ``generator(D(x), D(G(z)))``.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import gan
      >>> real, fake = jnp.array([30.0, 1.0]), jnp.array([-30.0, 31.0])
      >>> float(gan.RELATIVISTIC.discriminator(real, fake))  # 0 for the pair that it tells apart, 30 for the other
      15.0
    """

    discriminator: Callable[[Logits, Logits], Scalar]
    generator: Callable[[Logits, Logits], Scalar]


def _minus_log_sigmoid(logits: Logits) -> Scalar:
    return jnp.mean(jax.nn.softplus(-logits))


def _minus_log_one_minus_sigmoid(logits: Logits) -> Scalar:
    return jnp.mean(jax.nn.softplus(logits))


def _hinge_real(logits: Logits) -> Scalar:
    return jnp.mean(jax.nn.relu(1 - logits))


def _hinge_fake(logits: Logits) -> Scalar:
    return jnp.mean(jax.nn.relu(1 + logits))


def _minus_mean(logits: Logits) -> Scalar:
    return -jnp.mean(logits)


def _real_above_fake(real: Logits, fake: Logits) -> Scalar:
    return _minus_log_sigmoid(real - fake)


def _fake_above_real(real: Logits, fake: Logits) -> Scalar:
    return _minus_log_sigmoid(fake - real)


# Binary cross entropy, labels swapped for the generator; s = sigmoid: -log s(D(x)), -log(1 - s(D(G(z)))), -log s(D(G(z)))
# (Goodfellow et al. 2014, section 3), as in the PyTorch tutorial.
NON_SATURATING = Loss(_minus_log_sigmoid, _minus_log_one_minus_sigmoid, _minus_log_sigmoid)

# max(0, 1 - D(x)), max(0, 1 + D(G(z))), -D(G(z)) (Lim & Ye 2017; Miyato et al. 2018).
HINGE = Loss(_hinge_real, _hinge_fake, _minus_mean)

LOSSES = {'non_saturating': NON_SATURATING, 'hinge': HINGE}

# -log sigmoid(D(x) - D(G(z))), -log sigmoid(D(G(z)) - D(x)) (Jolicoeur-Martineau 2019; Huang et al. 2024, section 2.1).
RELATIVISTIC = PairingLoss(_real_above_fake, _fake_above_real)
