"""The base class of the methods that train a generator against a discriminator."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp

from jaxgen.gan import augment
from jaxgen.methods.adversarial.state import GANState
from jaxgen.methods.base import Capabilities, Method
from jaxgen.models.dcgan import Discriminator, Generator
from jaxgen.models.layers import at_least_float32, precision_of
from jaxgen.models.r3gan import R3GANDiscriminator, R3GANGenerator
from jaxgen.optim.options import OptimizerOptions
from jaxgen.runtime.random import normal_of_each
from jaxgen.types import Array, JsonObject, PyTree


class Augmented(Protocol):
    """Options of a GAN that name the augmentations of all images that the discriminator sees."""

    @property
    def augment(self) -> tuple[str, ...] | None:
        """Names in ``gan.AUGMENTATIONS``; None for no augmentation."""


@dataclasses.dataclass(frozen=True)
class AdversarialMethod(Method):
    """A generator and a discriminator, trained against each other; a subclass defines the losses and the updates.

    Attributes:
      optimizer: resolved options of the optimizer, see ``OptimizerOptions.resolved``.
      gan: losses and regularisers.
    """

    supports: ClassVar[Capabilities] = Capabilities(samples=True, knows_classes=True)

    generator: Generator | R3GANGenerator
    discriminator: Discriminator | R3GANDiscriminator
    optimizer: OptimizerOptions
    gan: Augmented
    image_shape: tuple[int, int, int]

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities of this instance."""
        return dataclasses.replace(self.supports, knows_classes=self.generator.num_classes > 0)

    def networks(self, state: GANState) -> dict[str, PyTree]:
        """Return the parameters of each network by its name."""
        return {'generator': state.generator.params, 'discriminator': state.discriminator.params}

    def augment(self, images: Array, key: Array) -> Array:
        """Apply ``gan.augment``, see ``Method.augment``."""
        return augment.augment(jax.random.fold_in(key, 0), images, self.gan.augment or ())

    def latents(self, label: Array, key: Array) -> Array:
        """Return a random latent for each label, on the device that holds the label."""
        dtype = at_least_float32(self.generator.dtype)
        z = jax.random.normal(key, (len(label), self.generator.latent_size), dtype)
        # No label is negative, so this changes no latent. It places the latents on the devices like the labels, so that each
        # device generates its own rows; without it, every device would generate all images.
        return jnp.where(label[:, None] >= 0, z, 0)

    def discriminate(self, variables: dict[str, PyTree], images: Array, labels: Array) -> PyTree:
        """Return the logits that the trained discriminator gives to images."""
        return self.discriminator.apply(variables, images, labels)

    def weights(self, state: GANState, key: Array, ema: bool) -> dict[str, PyTree]:
        """Return the trained weights of both networks, see ``Method.weights``."""
        generator = self.sampling_variables(state, key, ema)
        return {'generator': generator, 'discriminator': state.discriminator.variables}

    def from_weights(self, weights: dict[str, PyTree], key: Array) -> GANState:
        """Return the trainable state before the first step, with given weights."""
        state = self.init(key)
        given = {}
        for name, variables in weights.items():
            stats = {collection: tree for collection, tree in variables.items() if collection != 'params'}
            given[name] = getattr(state, name).replace(params=variables['params'], stats=stats)
        return state.replace(**given, ema=jax.tree.map(jnp.copy, weights['generator']['params']))

    def sample(self, variables: PyTree, keys: Array, labels: Array) -> Array:
        """Generate images, see ``Method.sample``."""
        z = normal_of_each(keys, (self.generator.latent_size,))
        images: PyTree = self.generator.apply(variables, z, labels)
        return images

    def sampling_protocol(self) -> JsonObject:
        """Return a description of how ``sample`` generates an image, as JSON values."""
        return {'sampler': 'generator', 'network_calls': 1} | precision_of(self.generator.dtype)
