"""The mathematics of adversarial training: pure functions of arrays.

Example:
  >>> import jax.numpy as jnp
  >>> from jaxgen import gan
  >>> loss = gan.LOSSES['hinge']
  >>> float(loss.real(jnp.array([2.0, -1.0])))  # the loss of two real images: 0 for the confident logit, 2 for the other
  1.0
"""

from jaxgen.gan import augment, losses, noise, penalties
from jaxgen.gan.augment import AUGMENTATIONS
from jaxgen.gan.losses import HINGE, LOSSES, NON_SATURATING, RELATIVISTIC, Loss, PairingLoss

__all__ = [
    'AUGMENTATIONS',
    'HINGE',
    'LOSSES',
    'NON_SATURATING',
    'RELATIVISTIC',
    'Loss',
    'PairingLoss',
    'augment',
    'losses',
    'noise',
    'penalties',
]
