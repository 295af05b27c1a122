"""The metrics of a step of a GAN."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from jaxgen.types import Array, PyTree

METRICS = (
    *('loss_discriminator', 'd_real', 'd_fake', 'accuracy_real', 'accuracy_fake', 'grad_norm_discriminator'),
    *('loss_generator', 'd_fake_after', 'grad_norm_generator', 'learning_rate'),
)


def discriminator_metrics(
    loss: Array, real_logits: Float[Array, ' n'], fake_logits: Float[Array, ' n'], grads: PyTree
) -> dict[str, Array]:
    """Return the loss, the mean probability of being real, the accuracy on each kind, and the norm of the gradient."""
    return {
        'loss_discriminator': loss,
        'd_real': jnp.mean(jax.nn.sigmoid(real_logits)),
        'd_fake': jnp.mean(jax.nn.sigmoid(fake_logits)),
        'accuracy_real': jnp.mean(real_logits > 0, dtype=loss.dtype),
        'accuracy_fake': jnp.mean(fake_logits < 0, dtype=loss.dtype),
        'grad_norm_discriminator': optax.tree.norm(grads),
    }
