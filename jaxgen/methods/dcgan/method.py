"""DCGAN as a method: the updates of its generator and its discriminator, and sampling."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from jaxgen.gan import losses, noise, penalties
from jaxgen.methods.adversarial.method import AdversarialMethod
from jaxgen.methods.adversarial.state import GANState, apply_gradients, init_network
from jaxgen.methods.dcgan.adaptation import add_signs, finish_step, init_noise
from jaxgen.methods.dcgan.metrics import METRICS, discriminator_metrics
from jaxgen.methods.dcgan.options import DCGANNetworkOptions, DCGANOptimizerOptions, GANOptions, require_together
from jaxgen.methods.dcgan.statistics import averaged_variables
from jaxgen.methods.options import require_whole_batch
from jaxgen.models.dcgan import Discriminator, Generator
from jaxgen.models.layers import at_least_float32
from jaxgen.optim.ema import ema_update
from jaxgen.optim.optimizer import make_optimizer
from jaxgen.optim.options import STEP_COUNTS, OptimizerOptions
from jaxgen.optim.schedules import learning_rate
from jaxgen.schema import Options, Sections
from jaxgen.types import Array, Fields, PyTree


@dataclasses.dataclass(frozen=True)
class DCGAN(AdversarialMethod):
    """A DCGAN (Radford et al. 2016), with a choice of losses and regularisers.

    A step follows the PyTorch tutorial: the discriminator learns from real and from generated images, one forward pass
    each, then the generator learns from the same generated images and the improved discriminator. With n steps of the
    discriminator, rows i, i + n, i + 2n ... of the batch are the real images of its i-th step.

    Attributes:
      optimizer: resolved options of the generator's optimizer, from which ``optimizer_options`` derives the discriminator's.
      gan: losses and regularisers.

    Example:
      >>> import jax
      >>> from jaxgen import methods
      >>> from jaxgen.methods.dcgan.options import DCGANNetworkOptions, DCGANOptimizerOptions, GANOptions
      >>> options = DCGANNetworkOptions(), GANOptions(), DCGANOptimizerOptions().resolved(steps=1000)
      >>> method = methods.DCGAN.from_options(*options, image_shape=(64, 64, 3), num_classes=10)
      >>> list(method.networks(jax.eval_shape(method.init, jax.random.key(0))))
      ['generator', 'discriminator']
    """

    sections: ClassVar[Mapping[str, type[Options]]] = {
        'optimizer': DCGANOptimizerOptions,
        'model': DCGANNetworkOptions,
        'gan': GANOptions,
    }

    generator: Generator
    discriminator: Discriminator
    gan: GANOptions

    @classmethod
    def from_options(
        cls,
        network: DCGANNetworkOptions,
        gan: GANOptions,
        optimizer: OptimizerOptions,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
    ) -> DCGAN:
        """Return the method with networks of the given options.

        Args:
          network: options of both networks.
          gan: losses and regularisers.
          optimizer: resolved options of the optimizer, see ``OptimizerOptions.resolved``.
          image_shape: height, width and channels of an image; the side is 4 times a power of two.
          num_classes: number of classes of the data.
        """
        common: Fields = {
            'image_size': image_shape[0],
            'base_channels': network.base_channels,
            'num_classes': num_classes if network.conditional else 0,
            'dtype': jnp.dtype(network.dtype),
        }
        discriminator = Discriminator(
            batch_norm=network.batch_norm,
            spectral_norm=network.spectral_norm,
            noise_levels=noise.T_MAX if gan.diffusion_noise else 0,
            **common,
        )
        generator = Generator(out_channels=image_shape[-1], latent_size=network.latent_size, **common)
        return cls(generator, discriminator, optimizer, gan, image_shape)

    @classmethod
    def from_sections(cls, sections: Sections, *, image_shape: tuple[int, int, int], num_classes: int) -> DCGAN:
        """Return the method that options describe, see ``Method.from_sections``."""
        optimizer = sections['optimizer'].resolved(sections['train'].steps)
        return cls.from_options(
            sections['model'], sections['gan'], optimizer, image_shape=image_shape, num_classes=num_classes
        )

    @staticmethod
    def check_options(options: Sections, image_size: int) -> None:
        """Refuse options of different sections that do not go together, see ``Method.check_options``."""
        require_whole_batch(options['train'].grad_accumulation, 'DCGAN')
        require_together(options['model'], options['gan'], options['data'].batch_size, image_size)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics that ``step`` returns."""
        return (*METRICS, 'noise_timesteps') if self.gan.diffusion_noise else METRICS

    def optimizer_options(self) -> tuple[OptimizerOptions, OptimizerOptions]:
        """Return the options of the generator's and of the discriminator's optimizer.

        The discriminator makes ``discriminator_steps`` times as many updates, so its schedule is that much longer: warm-up
        and decay of both end at the same training step.
        """
        o, n = self.optimizer, self.gan.discriminator_steps
        peak = self.gan.discriminator_learning_rate or o.learning_rate
        schedule = {name: getattr(o, name) for name in STEP_COUNTS}
        longer = {name: steps * n for name, steps in schedule.items() if steps is not None}
        return o, dataclasses.replace(o, learning_rate=peak, **longer)

    def _optimizers(self) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        generator, discriminator = self.optimizer_options()
        return make_optimizer(generator), make_optimizer(discriminator)

    def init(self, key: Array) -> GANState:
        """Return the trainable state before the first step, with random parameters."""
        label = t = jnp.zeros(2, jnp.int32)
        latents, images = jnp.zeros((2, self.generator.latent_size)), jnp.zeros((2, *self.image_shape))
        keys, optimizers = jax.random.split(key), self._optimizers()
        generator = init_network(self.generator.init(keys[0], latents, label, train=True), optimizers[0])
        discriminator = init_network(self.discriminator.init(keys[1], images, label, t, train=True), optimizers[1])
        ema = jax.tree.map(jnp.copy, generator.params)
        return GANState(generator, discriminator, ema, jnp.zeros((), jnp.int32), init_noise(self.gan))

    def discriminate(self, variables: dict[str, PyTree], images: Array, labels: Array) -> PyTree:
        """Return the logits that the trained discriminator gives to images without noise."""
        return self.discriminator.apply(variables, images, labels, jnp.zeros_like(labels))

    def step(self, state: GANState, batch: dict[str, Array], key: Array) -> tuple[GANState, dict[str, Array]]:
        """Make one update of the parameters, see ``Method.step``."""
        real = self.augment(batch['image'].astype(at_least_float32(self.generator.dtype)), key)
        n = self.gan.discriminator_steps
        for i in range(n):
            label, step_key = batch['label'][i::n], jax.random.fold_in(key, i + 1)
            fake, backward, state = self._generate(state, label, step_key)
            state, metrics = self._update_discriminator(state, real[i::n], fake, label=label, key=step_key)
        state, more = self._update_generator(state, fake, backward, label=label, key=step_key)
        return finish_step(state, len(real), self.gan), metrics | more

    def _generate(self, state: GANState, label: Array, key: Array) -> tuple[Array, Callable, GANState]:
        """Generate images from new latents.

        Returns:
          The images; the function that turns gradients of the images into gradients of the generator's parameters; and the
          state with the generator's next running statistics.
        """
        z, own = self.latents(label, jax.random.split(key, 4)[0]), state.generator

        def generate(params: PyTree) -> tuple[Array, PyTree]:
            variables = {'params': params, **own.stats}
            return self.generator.apply(variables, z, label, train=True, mutable=list(own.stats))

        fake, backward, stats = jax.vjp(generate, own.params, has_aux=True)
        return fake, backward, state.replace(generator=own.replace(stats=dict(stats)))

    def _discriminate(
        self, variables: dict[str, PyTree], images: Array, label: Array, *, key: Array, adaptation: dict[str, Array]
    ) -> tuple[Array, PyTree]:
        """Return the discriminator's logits of augmented images, and its next statistics.

        Args:
          variables: parameters and statistics of the discriminator.
          images: real or generated images in [-1, 1].
          label: their class labels.
          key: random key of the noise.
          adaptation: the field ``noise`` of the state, which has the strength of the noise of Diffusion-GAN.
        """
        t = jnp.zeros(len(images), jnp.int32)
        if self.gan.diffusion_noise:
            _, time_key, noise_key = jax.random.split(key, 3)  # the first is fold_in(key, 0), the key of ``augment``
            timesteps = noise.num_timesteps(adaptation['strength'])
            t = noise.sample_times(time_key, len(images), timesteps)
            normal = jax.random.normal(noise_key, images.shape, images.dtype)
            images = noise.add_noise(images, normal, t, timesteps, self.gan.diffusion_std)
        mutable = [name for name in variables if name != 'params']
        logits, stats = self.discriminator.apply(variables, images, label, t, train=True, mutable=mutable)
        return logits, dict(stats)

    def _update_discriminator(
        self, state: GANState, real: Array, fake: Array, *, label: Array, key: Array
    ) -> tuple[GANState, dict[str, Array]]:
        _, real_key, fake_key, _ = jax.random.split(key, 4)
        loss, gamma, own = losses.LOSSES[self.gan.loss], self.gan.r1_gamma, state.discriminator
        fake = self.augment(fake, fake_key)

        def logits_of(params: PyTree, stats: PyTree, images: Array, key: Array) -> tuple[Array, PyTree]:
            return self._discriminate({'params': params, **stats}, images, label, key=key, adaptation=state.noise)

        def total_loss(params: PyTree) -> tuple[Array, PyTree]:
            real_logits, stats = logits_of(params, own.stats, real, real_key)
            fake_logits, stats = logits_of(params, stats, fake, fake_key)
            value = loss.real(real_logits) + loss.fake(fake_logits)
            if gamma:
                value += penalties.r1(lambda images: logits_of(params, own.stats, images, real_key)[0], real, gamma)
            return value, (stats, real_logits, fake_logits)

        (value, (stats, real_logits, fake_logits)), grads = jax.value_and_grad(total_loss, has_aux=True)(own.params)
        metrics = discriminator_metrics(value, real_logits, fake_logits, grads)
        adaptation = add_signs(state.noise, real_logits, self.gan)
        own = apply_gradients(self._optimizers()[1], own, grads).replace(stats=stats)
        return state.replace(discriminator=own, noise=adaptation), metrics

    def _update_generator(
        self, state: GANState, fake: Array, backward: Callable, *, label: Array, key: Array
    ) -> tuple[GANState, dict[str, Array]]:
        generator_key = jax.random.split(key, 4)[3]
        opponent = state.discriminator

        def generator_loss(images: Array) -> tuple[Array, PyTree]:
            images = self.augment(images, generator_key)
            logits, stats = self._discriminate(
                opponent.variables, images, label, key=generator_key, adaptation=state.noise
            )
            return losses.LOSSES[self.gan.loss].generator(logits), (stats, logits)

        (value, (stats, logits)), image_grads = jax.value_and_grad(generator_loss, has_aux=True)(fake)
        (grads,) = backward(image_grads)
        generator = apply_gradients(self._optimizers()[0], state.generator, grads)
        metrics = {
            'loss_generator': value,
            'd_fake_after': jnp.mean(jax.nn.sigmoid(logits)),
            'grad_norm_generator': optax.tree.norm(grads),
            'learning_rate': jnp.asarray(learning_rate(self.optimizer)(state.updates), jnp.float32),
        }
        if self.gan.diffusion_noise:
            metrics['noise_timesteps'] = noise.num_timesteps(state.noise['strength']).astype(jnp.float32)
        ema = ema_update(state.ema, generator.params, state.updates, self.optimizer.ema_decay)
        return state.replace(generator=generator, discriminator=opponent.replace(stats=stats), ema=ema), metrics

    def sampling_variables(self, state: GANState, key: Array, ema: bool) -> PyTree:
        """Return the variables of the generator: the last ones, or the averaged parameters with their own statistics."""
        return averaged_variables(self.generator, state, key) if ema else state.generator.variables
