"""The state of a GAN, and the updates of its parts."""

from __future__ import annotations

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
import optax

from jaxgen.gan import noise
from jaxgen.methods.dcgan.options import GANOptions
from jaxgen.types import Array, PyTree, Struct

# The names of the fields stand in checkpoints.


@flax.struct.dataclass
class NetworkState(Struct):
    """The state of one of the two networks.

    Attributes:
      params: its parameters.
      stats: the collections that a forward pass changes: running statistics, singular vectors.
      opt_state: the state of its optimizer.
    """

    params: PyTree
    stats: PyTree
    opt_state: PyTree

    @property
    def variables(self) -> dict[str, PyTree]:
        """The parameters and the statistics, as the network's ``apply`` takes them."""
        return {'params': self.params, **self.stats}


@flax.struct.dataclass
class GANState(Struct):
    """Both networks, the moving average of the generator's parameters, and the number of updates.

    Attributes:
      noise: of Diffusion-GAN, the ``strength`` and the sum of the mean ``signs`` since it last adapted; empty without it.
    """

    generator: NetworkState
    discriminator: NetworkState
    ema: PyTree
    updates: Array
    noise: dict[str, Array]


def init_network(
    network: nn.Module, optimizer: optax.GradientTransformation, key: Array, *inputs: Array
) -> NetworkState:
    """Return the state of a network before the first step.

    Args:
      network: the generator or the discriminator.
      optimizer: its optimizer.
      key: random key of the parameters.
      *inputs: example inputs of the network.
    """
    stats = dict(network.init(key, *inputs, train=True))
    params = stats.pop('params')
    return NetworkState(params, stats, optimizer.init(params))


def apply_gradients(optimizer: optax.GradientTransformation, state: NetworkState, grads: PyTree) -> NetworkState:
    """Return the state of a network after one update of its parameters."""
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    return state.replace(params=optax.apply_updates(state.params, updates), opt_state=opt_state)


def init_noise(options: GANOptions) -> dict[str, Array]:
    """Return the field ``noise`` of ``GANState`` before the first step."""
    return {'strength': jnp.zeros(()), 'signs': jnp.zeros(())} if options.diffusion_noise else {}


def add_signs(adaptation: dict[str, Array], real_logits: Array, options: GANOptions) -> dict[str, Array]:
    """Add the mean sign of the logits of real images to the sum, divided by the discriminator's steps."""
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
