"""R3GAN as a method: the updates of its generator and its discriminator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from jaxgen.gan import RELATIVISTIC, penalties
from jaxgen.methods.adversarial.method import AdversarialMethod
from jaxgen.methods.adversarial.state import GANState, apply_gradients, init_network
from jaxgen.methods.options import require_whole_batch
from jaxgen.methods.r3gan.options import R3GANNetworkOptions, R3GANOptimizerOptions, R3GANOptions, require_networks
from jaxgen.models.layers import at_least_float32
from jaxgen.models.r3gan import R3GANDiscriminator, R3GANGenerator
from jaxgen.optim.ema import ema_update
from jaxgen.optim.optimizer import make_optimizer
from jaxgen.optim.options import OptimizerOptions
from jaxgen.optim.schedules import learning_rate
from jaxgen.schema import Options, Sections
from jaxgen.types import Array, Fields, PyTree


@dataclasses.dataclass(frozen=True)
class R3GAN(AdversarialMethod):
    """An R3GAN (Huang et al. 2024): pairs of a real and a generated image of the same class, with the penalties R1 and R2.

    A step updates the discriminator, then the generator against the improved discriminator, on the same pairs. It differs from
    the official code (github.com/brownvc/R3GAN) in four points. In the official code

    - the generator's update has new latents and new real images;
    - Adam's ``beta2`` rises from 0.9 to 0.99 while ``gamma`` falls; here it is constant;
    - the length of the moving average rises along a cosine; here ``optim.ema`` has a warm-up;
    - the augmentation is that of StyleGAN2-ADA, and the penalties take the gradient with respect to the images before it; here
      it is ``gan.augment``, and they take the gradient with respect to the augmented images.

    Attributes:
      optimizer: resolved options of the optimizer, which both networks share.
      gan: penalties and augmentations.

    Example:
      >>> import jax
      >>> from jaxgen import methods
      >>> from jaxgen.methods.r3gan.options import R3GANNetworkOptions, R3GANOptimizerOptions, R3GANOptions
      >>> options = R3GANNetworkOptions(), R3GANOptions(), R3GANOptimizerOptions().resolved(steps=1000)
      >>> method = methods.R3GAN.from_options(*options, image_shape=(32, 32, 3), num_classes=10)
      >>> list(method.networks(jax.eval_shape(method.init, jax.random.key(0))))
      ['generator', 'discriminator']
    """

    sections: ClassVar[Mapping[str, type[Options]]] = {
        'optimizer': R3GANOptimizerOptions,
        'model': R3GANNetworkOptions,
        'gan': R3GANOptions,
    }

    generator: R3GANGenerator
    discriminator: R3GANDiscriminator
    gan: R3GANOptions

    @classmethod
    def from_options(
        cls,
        network: R3GANNetworkOptions,
        gan: R3GANOptions,
        optimizer: OptimizerOptions,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
    ) -> R3GAN:
        """Return the method with networks of the given options.

        Args:
          network: options of both networks.
          gan: penalties and augmentations.
          optimizer: resolved options of the optimizer, see ``OptimizerOptions.resolved``.
          image_shape: height, width and channels of an image; the side is 4 times a power of two.
          num_classes: number of classes of the data.
        """
        common: Fields = {
            'image_size': image_shape[0],
            'channels': network.channels,
            'num_blocks': network.num_blocks,
            'group_size': network.group_size,
            'num_classes': num_classes if network.conditional else 0,
            'dtype': jnp.dtype(network.dtype),
        }
        generator = R3GANGenerator(out_channels=image_shape[-1], latent_size=network.latent_size, **common)
        return cls(generator, R3GANDiscriminator(**common), optimizer, gan, image_shape)

    @classmethod
    def from_sections(cls, sections: Sections, *, image_shape: tuple[int, int, int], num_classes: int) -> R3GAN:
        """Return the method that options describe, see ``Method.from_sections``."""
        optimizer = sections['optimizer'].resolved(sections['train'].steps)
        return cls.from_options(
            sections['model'], sections['gan'], optimizer, image_shape=image_shape, num_classes=num_classes
        )

    @staticmethod
    def check_options(options: Sections, image_size: int) -> None:
        """Refuse options of different sections that do not go together, see ``Method.check_options``."""
        require_whole_batch(
            options['train'].grad_accumulation, 'R3GAN', 'both networks are updated on the same whole batch'
        )
        require_networks(options['model'], image_size)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics that ``step`` returns."""
        return (
            *('loss_discriminator', 'r1', 'r2', 'real_minus_fake', 'accuracy_pairs', 'grad_norm_discriminator'),
            *('loss_generator', 'real_minus_fake_after', 'grad_norm_generator', 'gamma', 'learning_rate'),
        )

    def gamma(self, updates: Array) -> Array:
        """Return the weight of the penalties after a number of updates."""
        start, end, steps = self.gan.gamma, self.gan.final_gamma, self.gan.burn_in_steps
        if end is None or steps is None:
            return jnp.full((), start)
        return end + (start - end) * (1 + jnp.cos(jnp.pi * jnp.minimum(updates / steps, 1))) / 2

    def init(self, key: Array) -> GANState:
        """Return the trainable state before the first step, with random parameters."""
        label = jnp.zeros(2, jnp.int32)
        latents, images = jnp.zeros((2, self.generator.latent_size)), jnp.zeros((2, *self.image_shape))
        keys, optimizer = jax.random.split(key), make_optimizer(self.optimizer)
        generator = init_network(self.generator.init(keys[0], latents, label), optimizer)
        discriminator = init_network(self.discriminator.init(keys[1], images, label), optimizer)
        ema = jax.tree.map(jnp.copy, generator.params)
        return GANState(generator, discriminator, ema, jnp.zeros((), jnp.int32), noise={})

    def step(self, state: GANState, batch: dict[str, Array], key: Array) -> tuple[GANState, dict[str, Array]]:
        """Make one update of the parameters, see ``Method.step``."""
        real = self.augment(batch['image'].astype(at_least_float32(self.generator.dtype)), key)
        label, keys = batch['label'], jax.random.split(jax.random.fold_in(key, 1), 3)
        z = self.latents(label, keys[0])

        def generate(params: PyTree) -> PyTree:
            return self.generator.apply({'params': params}, z, label)

        fake, backward = jax.vjp(generate, state.generator.params)
        state, metrics = self._update_discriminator(state, real, self.augment(fake, keys[1]), label)
        state, more = self._update_generator(state, real, fake, backward, label=label, key=keys[2])
        return state.replace(updates=state.updates + 1), metrics | more

    def _update_discriminator(
        self, state: GANState, real: Array, fake: Array, label: Array
    ) -> tuple[GANState, dict[str, Array]]:
        own, gamma = state.discriminator, self.gamma(state.updates)
        # Each real image is next to its generated one, so that each device has whole pairs.
        pairs, labels = jnp.stack([real, fake], axis=1).reshape(-1, *real.shape[1:]), jnp.repeat(label, 2)

        def total_loss(params: PyTree) -> tuple[Array, dict[str, Array]]:
            def discriminator(images: Array) -> PyTree:
                return self.discriminator.apply({'params': params}, images, labels)

            both = penalties.logits_and_squared_gradients(discriminator, pairs)
            (real_logits, fake_logits), squared = (x.reshape(-1, 2).T for x in both)
            r1, r2 = gamma / 2 * jnp.mean(squared, axis=1)
            loss = RELATIVISTIC.discriminator(real_logits, fake_logits) + r1 + r2
            margin = real_logits - fake_logits
            accuracy = jnp.mean(margin > 0, dtype=loss.dtype)
            return loss, {'r1': r1, 'r2': r2, 'real_minus_fake': jnp.mean(margin), 'accuracy_pairs': accuracy}

        (loss, metrics), grads = jax.value_and_grad(total_loss, has_aux=True)(own.params)
        metrics |= {'loss_discriminator': loss, 'grad_norm_discriminator': optax.tree.norm(grads)}
        metrics['gamma'] = jnp.asarray(gamma, jnp.float32)
        return state.replace(discriminator=apply_gradients(make_optimizer(self.optimizer), own, grads)), metrics

    def _update_generator(
        self, state: GANState, real: Array, fake: Array, backward: Callable, *, label: Array, key: Array
    ) -> tuple[GANState, dict[str, Array]]:
        opponent = state.discriminator.variables

        def logits_of(images: Array) -> PyTree:
            return self.discriminator.apply(opponent, images, label)

        real_logits = logits_of(real)

        def generator_loss(images: Array) -> tuple[Array, Array]:
            fake_logits = logits_of(self.augment(images, key))
            return RELATIVISTIC.generator(real_logits, fake_logits), fake_logits

        (loss, fake_logits), image_grads = jax.value_and_grad(generator_loss, has_aux=True)(fake)
        (grads,) = backward(image_grads)
        generator = apply_gradients(make_optimizer(self.optimizer), state.generator, grads)
        metrics = {
            'loss_generator': loss,
            'real_minus_fake_after': jnp.mean(real_logits - fake_logits),
            'grad_norm_generator': optax.tree.norm(grads),
            'learning_rate': jnp.asarray(learning_rate(self.optimizer)(state.updates), jnp.float32),
        }
        ema = ema_update(state.ema, generator.params, state.updates, self.optimizer.ema_decay)
        return state.replace(generator=generator, ema=ema), metrics

    def sampling_variables(self, state: GANState, key: Array, ema: bool) -> PyTree:
        """Return the parameters of the generator, or their moving average."""
        return {'params': state.ema} if ema else state.generator.variables

    def sample(self, variables: PyTree, keys: Array, labels: Array) -> Array:
        """Generate images, clipped to [-1, 1]; see ``Method.sample``."""
        return jnp.clip(super().sample(variables, keys, labels), -1, 1)
