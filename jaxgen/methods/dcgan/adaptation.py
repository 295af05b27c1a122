"""The adaptive noise of Diffusion-GAN, a part of the state of a GAN."""

from __future__ import annotations

import jax.numpy as jnp

from jaxgen.gan import noise
from jaxgen.methods.adversarial.state import GANState
from jaxgen.methods.dcgan.options import GANOptions
from jaxgen.types import Array


def init_noise(options: GANOptions) -> dict[str, Array]:
    """Return the field ``noise`` of ``GANState`` before the first step."""
    return {'strength': jnp.zeros(()), 'signs': jnp.zeros(())} if options.diffusion_noise else {}


def add_signs(adaptation: dict[str, Array], real_logits: Array, options: GANOptions) -> dict[str, Array]:
    """Add the mean sign of the logits of real images, divided by the discriminator's steps, to the sum."""
    if not options.diffusion_noise:
        return adaptation
    signs = jnp.mean(jnp.sign(real_logits)) / options.discriminator_steps
    return {**adaptation, 'signs': adaptation['signs'] + signs}


def finish_step(state: GANState, num_images: int, options: GANOptions) -> GANState:
    """Count the step, and adapt the strength of the noise if ``noise.ADAPTATION_INTERVAL`` steps have passed.

    Args:
      state: the state after the updates of both networks.
      num_images: number of real images in a step.
      options: the options of the GAN.
    """
    updates, adaptation = state.updates + 1, state.noise
    if options.diffusion_noise:
        every = noise.ADAPTATION_INTERVAL
        strength = noise.adapt(
            adaptation['strength'],
            adaptation['signs'] / every,
            options.diffusion_target,
            num_images=num_images * every,
            images_to_full=options.diffusion_images,
        )
        due = updates % every == 0
        adaptation = {
            'strength': jnp.where(due, strength, adaptation['strength']),
            'signs': jnp.where(due, 0, adaptation['signs']),
        }
    return state.replace(updates=updates, noise=adaptation)
