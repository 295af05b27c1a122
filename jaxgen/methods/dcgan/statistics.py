"""Statistics of batch normalisation for the averaged parameters of a generator."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxgen.methods.adversarial.state import GANState
from jaxgen.models.dcgan import Generator
from jaxgen.types import Array, PyTree

NUM_BATCHES, BATCH_SIZE = 16, 128


def averaged_variables(generator: Generator, state: GANState, key: Array) -> dict[str, PyTree]:
    """Return the averaged parameters with their own statistics.

    The running statistics belong to the parameters of the last step, so they are replaced by the means over 16 batches of 128
    latents, as in ``torch.optim.swa_utils.update_bn``. Before the first update they belong to the averaged parameters, too, and
    are kept, so that an imported generator samples with the statistics that came with it.

    Args:
      generator: the network.
      state: the state of the GAN, with the averaged parameters.
      key: random key of the latents and labels.
    """
    running = state.generator.stats
    network = generator.clone(momentum=1.0)  # the statistics of a batch replace the running ones

    def add(total: PyTree, key: Array) -> tuple[PyTree, None]:
        latent_key, label_key = jax.random.split(key)
        z = jax.random.normal(latent_key, (BATCH_SIZE, network.latent_size))
        label = jax.random.randint(label_key, (BATCH_SIZE,), 0, max(network.num_classes, 1))
        variables = {'params': state.ema, **running}
        _, stats = network.apply(variables, z, label, train=True, mutable=list(running))
        return jax.tree.map(jnp.add, total, dict(stats)), None

    zeros = jax.tree.map(jnp.zeros_like, running)
    total, _ = jax.lax.scan(add, zeros, jax.random.split(key, NUM_BATCHES))
    stats = jax.tree.map(lambda old, x: jnp.where(state.updates, x / NUM_BATCHES, old), running, total)
    return {'params': state.ema, **stats}
