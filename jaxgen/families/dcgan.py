"""DCGAN as a model family: generator and discriminator, the game between them, and what may be added to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from jaxgen.errors import UserError, check, names, pick
from jaxgen.gan import augment, losses, noise
from jaxgen.models.dcgan import Discriminator, Generator, num_levels
from jaxgen.models.layers import at_least_float32
from jaxgen.training.optimizer import ema_update, learning_rate, make_optimizer

Array = jax.Array

# Batches of latents from which the statistics of the averaged generator are taken.
STATISTICS_BATCHES, STATISTICS_BATCH_SIZE = 16, 128


@flax.struct.dataclass
class Player:
    """Parameters, what a forward pass leaves behind (running statistics, singular vectors), the optimiser's state."""

    params: Any
    stats: Any
    opt_state: Any


@flax.struct.dataclass
class Game:
    """Both players, the moving average of the generator's parameters, the number of updates.

    Attributes:
      noise: Diffusion-GAN's strength and the sum of the signs since it last adapted; empty without that noise.
    """

    generator: Player
    discriminator: Player
    ema: Any
    updates: Array
    noise: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class DCGAN:
    """Radford et al. 2016, with the losses and regularisers of ``config.gan``.

    A step is that of the PyTorch tutorial: the discriminator learns from real and from generated images, one forward
    pass each, then the generator from the same generated images under the discriminator so improved. With n steps of
    the discriminator, rows i, i + n, i + 2n ... of the batch are the real images of its i-th step.
    """

    generator: Generator
    discriminator: Discriminator
    optimizer: ConfigDict
    options: ConfigDict
    image_shape: tuple[int, int, int]

    @staticmethod
    def fields(c: ConfigDict) -> None:
        """Adds the fields of this family to a config, the tutorial's values in them."""
        c.model = ConfigDict()
        c.model.conditional = False  # class labels as an input of both networks
        c.model.base_channels = 64  # of the largest feature maps; doubled at each halving of the side
        c.model.latent_size = 100
        c.model.batch_norm = True  # in the discriminator
        c.model.spectral_norm = False  # in the discriminator
        c.model.dtype = 'float32'  # of the computation: float32 or bfloat16

        c.gan = ConfigDict()
        c.gan.loss = 'non_saturating'  # binary cross entropy, the tutorial's; or hinge
        c.gan.discriminator_steps = 1  # to one of the generator; they share the batch
        c.gan.discriminator_learning_rate = 0.0  # 0: optimizer.learning_rate
        c.gan.r1_gamma = 0.0
        c.gan.augment = ''  # of what the discriminator sees: color,translation,cutout
        c.gan.diffusion_noise = False  # Diffusion-GAN's
        c.gan.diffusion_std = 0.05
        c.gan.diffusion_target = 0.6  # mean sign of the real logits that the strength steers to
        c.gan.diffusion_images = 100_000  # over which the strength can go from 0 to 1

        c.optimizer.learning_rate = 2e-4
        c.optimizer.beta1 = 0.5
        c.optimizer.warmup_steps = 0
        c.optimizer.grad_clip_norm = 0.0
        c.optimizer.ema_decay = 0.999

    @staticmethod
    def check(c: ConfigDict, image_size: int) -> None:
        """Refuses what this family cannot be.

        Raises:
          UserError: one sentence naming the field.
        """
        try:
            num_levels(image_size)
        except ValueError as e:
            raise UserError(f'config.data.image_size: DCGAN cannot make {e}') from e
        pick(c.gan.loss, losses.LOSSES, 'config.gan.loss')
        for name in names(c.gan.augment):
            pick(name, augment.AUGMENTATIONS, 'config.gan.augment:')
        for field in ('r1_gamma', 'discriminator_learning_rate', 'diffusion_std'):
            check(c.gan[field] >= 0, f'config.gan.{field}={c.gan[field]} must not be negative')
        check(
            -1 <= c.gan.diffusion_target <= 1,
            f'config.gan.diffusion_target={c.gan.diffusion_target} must lie between -1 and 1',
        )
        check(
            c.train.grad_accumulation == 1,
            f'config.train.grad_accumulation={c.train.grad_accumulation} must be 1 for DCGAN: the statistics of its '
            f'normalisation are those of the whole batch',
        )
        check(
            c.data.batch_size % c.gan.discriminator_steps == 0 and c.data.batch_size > c.gan.discriminator_steps,
            f'config.data.batch_size={c.data.batch_size} does not divide into batches of more than one image for '
            f'config.gan.discriminator_steps={c.gan.discriminator_steps}',
        )

    @classmethod
    def from_config(cls, c: ConfigDict, image_shape: tuple[int, int, int], num_classes: int) -> DCGAN:
        m, options = c.model, c.gan
        common = {
            'image_size': image_shape[0],
            'base_channels': m.base_channels,
            'num_classes': num_classes if m.conditional else 0,
            'dtype': jnp.dtype(m.dtype),
        }
        return cls(
            generator=Generator(out_channels=image_shape[-1], latent_size=m.latent_size, **common),
            discriminator=Discriminator(
                batch_norm=m.batch_norm,
                spectral_norm=m.spectral_norm,
                noise_levels=noise.T_MAX if options.diffusion_noise else 0,
                **common,
            ),
            optimizer=c.optimizer,
            options=options,
            image_shape=image_shape,
        )

    def _optimizers(self) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        other = self.options.discriminator_learning_rate or self.optimizer.learning_rate
        return make_optimizer(self.optimizer), make_optimizer(ConfigDict({**self.optimizer, 'learning_rate': other}))

    def init(self, key: Array) -> Game:
        label = t = jnp.zeros(2, jnp.int32)
        inputs = jnp.zeros((2, self.generator.latent_size)), jnp.zeros((2, *self.image_shape))

        def player(network: nn.Module, optimizer, key: Array, *inputs) -> Player:
            stats = dict(network.init(key, *inputs, train=True))
            params = stats.pop('params')
            return Player(params, stats, optimizer.init(params))

        keys = jax.random.split(key)
        optimizers = self._optimizers()
        generator = player(self.generator, optimizers[0], keys[0], inputs[0], label)
        discriminator = player(self.discriminator, optimizers[1], keys[1], inputs[1], label, t)
        adaptation = {'strength': jnp.zeros(()), 'signs': jnp.zeros(())} if self.options.diffusion_noise else {}
        ema = jax.tree.map(jnp.copy, generator.params)
        return Game(generator, discriminator, ema, jnp.zeros((), jnp.int32), adaptation)

    def networks(self, model: Game) -> dict[str, Any]:
        return {'generator': model.generator.params, 'discriminator': model.discriminator.params}

    def augment(self, images: Array, key: Array) -> Array:
        """Without Diffusion-GAN's noise, of which the amount is the model's."""
        return augment.augment(jax.random.fold_in(key, 0), images, names(self.options.augment))

    def step(self, model: Game, batch: dict[str, Array], key: Array) -> tuple[Game, dict[str, Array]]:
        metrics: dict[str, Array] = {}
        n = self.options.discriminator_steps
        images = batch['image'].astype(at_least_float32(self.generator.dtype))
        batch = {**batch, 'image': self.augment(images, key)}
        for i in range(n):
            rows = jax.tree.map(lambda x, i=i: x[i::n], batch)
            model, fake, backward, judge = self._discriminator_step(
                model, rows, jax.random.fold_in(key, i + 1), metrics
            )
        return self._generator_step(model, fake, backward, judge, len(batch['label']), metrics), metrics

    def _discriminator_step(self, model: Game, batch: dict[str, Array], key: Array, metrics: dict[str, Array]):
        """The model with a better discriminator, the images that it learned from, and what the generator's turn needs."""
        latent_key, real_key, fake_key, generator_key = jax.random.split(key, 4)
        real, label = batch['image'], batch['label']
        z = jax.random.normal(latent_key, (len(real), self.generator.latent_size), real.dtype)

        def generate(params):
            variables = {'params': params, **model.generator.stats}
            return self.generator.apply(variables, z, label, train=True, mutable=list(model.generator.stats))

        fake_images, backward, stats = jax.vjp(generate, model.generator.params, has_aux=True)
        model = model.replace(generator=model.generator.replace(stats=dict(stats)))

        def judge(params, stats, images: Array, key: Array) -> tuple[Array, Any]:
            """Logits of augmented images, and what the pass leaves behind."""
            seen, t = self._noised(images, key, model.noise)
            variables = {'params': params, **stats}
            logits, stats = self.discriminator.apply(variables, seen, label, t, train=True, mutable=list(stats))
            return logits, dict(stats)

        loss = losses.LOSSES[self.options.loss]
        stats = model.discriminator.stats

        def total(params):
            real_logits, after_real = judge(params, stats, real, real_key)
            fake_logits, after_both = judge(params, after_real, self.augment(fake_images, fake_key), fake_key)
            value = loss.real(real_logits) + loss.fake(fake_logits)
            if self.options.r1_gamma:
                critic = lambda x: judge(params, stats, x, real_key)[0]  # noqa: E731
                value += losses.r1_penalty(critic, real, self.options.r1_gamma)
            return value, (after_both, real_logits, fake_logits)

        grad = jax.value_and_grad(total, has_aux=True)
        (value, (stats, real_logits, fake_logits)), grads = grad(model.discriminator.params)
        discriminator = _update(self._optimizers()[1], model.discriminator, grads).replace(stats=stats)
        metrics |= {
            'loss_discriminator': value,
            'd_real': jnp.mean(jax.nn.sigmoid(real_logits)),
            'd_fake': jnp.mean(jax.nn.sigmoid(fake_logits)),
            'accuracy_real': jnp.mean(real_logits > 0, dtype=value.dtype),
            'accuracy_fake': jnp.mean(fake_logits < 0, dtype=value.dtype),
            'grad_norm_discriminator': optax.tree.norm(grads),
        }
        if self.options.diffusion_noise:
            signs = model.noise['signs'] + jnp.mean(jnp.sign(real_logits)) / self.options.discriminator_steps
            model = model.replace(noise={**model.noise, 'signs': signs})
        model = model.replace(discriminator=discriminator)

        def judge_generated(params, stats, images: Array) -> tuple[Array, Any]:
            return judge(params, stats, self.augment(images, generator_key), generator_key)

        return model, fake_images, backward, judge_generated

    def _generator_step(
        self, model: Game, fake: Array, backward: Callable, judge: Callable, images: int, metrics: dict[str, Array]
    ) -> Game:
        loss = losses.LOSSES[self.options.loss]
        params, stats = model.discriminator.params, model.discriminator.stats

        def fooled(images):
            logits, after = judge(params, stats, images)
            return loss.generator(logits), (after, logits)

        (value, (stats, logits)), by_pixel = jax.value_and_grad(fooled, has_aux=True)(fake)
        (grads,) = backward(by_pixel)
        generator = _update(self._optimizers()[0], model.generator, grads)
        metrics |= {
            'loss_generator': value,
            'd_fake_after': jnp.mean(jax.nn.sigmoid(logits)),
            'grad_norm_generator': optax.tree.norm(grads),
            'learning_rate': jnp.asarray(learning_rate(self.optimizer)(model.updates), jnp.float32),
        }
        adaptation = model.noise
        if self.options.diffusion_noise:
            metrics['noise_timesteps'] = noise.num_timesteps(adaptation['strength']).astype(jnp.float32)
            adaptation = self._adapted(adaptation, model.updates + 1, images)
        return Game(
            generator=generator,
            discriminator=model.discriminator.replace(stats=stats),
            ema=ema_update(model.ema, generator.params, model.updates, self.optimizer.ema_decay),
            updates=model.updates + 1,
            noise=adaptation,
        )

    def _noised(self, images: Array, key: Array, adaptation: dict[str, Array]) -> tuple[Array, Array]:
        """Images with Diffusion-GAN's noise, if it is asked for, and the time of the noise on each."""
        if not self.options.diffusion_noise:
            return images, jnp.zeros(len(images), jnp.int32)
        timesteps = noise.num_timesteps(adaptation['strength'])
        _, time_key, noise_key = jax.random.split(key, 3)
        t = noise.sample_times(time_key, len(images), timesteps)
        normal = jax.random.normal(noise_key, images.shape, images.dtype)
        return noise.add_noise(images, normal, t, timesteps, self.options.diffusion_std), t

    def _adapted(self, adaptation: dict[str, Array], updates: Array, images: int) -> dict[str, Array]:
        every = noise.ADAPTATION_INTERVAL
        options = self.options
        strength = noise.adapt(
            adaptation['strength'],
            adaptation['signs'] / every,
            options.diffusion_target,
            images * every,
            options.diffusion_images,
        )
        due = updates % every == 0
        return {
            'strength': jnp.where(due, strength, adaptation['strength']),
            'signs': jnp.where(due, 0, adaptation['signs']),
        }

    def sampling_variables(self, model: Game, key: Array, ema: bool) -> Any:
        """The generator as it was last trained, or its average with statistics of its own.

        These are the means of the statistics of 16 batches of 128 latents from ``key``, as in
        ``torch.optim.swa_utils.update_bn``: the running ones belong to other parameters.
        """
        if not ema:
            return {'params': model.generator.params, **model.generator.stats}
        network = self.generator.clone(momentum=1.0)

        def add(total, key):
            latent_key, label_key = jax.random.split(key)
            z = jax.random.normal(latent_key, (STATISTICS_BATCH_SIZE, network.latent_size))
            label = jax.random.randint(label_key, (STATISTICS_BATCH_SIZE,), 0, max(network.num_classes, 1))
            variables = {'params': model.ema, **model.generator.stats}
            _, stats = network.apply(variables, z, label, train=True, mutable=list(model.generator.stats))
            return jax.tree.map(jnp.add, total, dict(stats)), None

        zeros = jax.tree.map(jnp.zeros_like, model.generator.stats)
        total, _ = jax.lax.scan(add, zeros, jax.random.split(key, STATISTICS_BATCHES))
        return {'params': model.ema, **jax.tree.map(lambda x: x / STATISTICS_BATCHES, total)}

    def sample(self, variables: Any, keys: Array, labels: Array) -> Array:
        z = jax.vmap(lambda key: jax.random.normal(key, (self.generator.latent_size,)))(keys)
        return self.generator.apply(variables, z, labels)


def _update(optimizer: optax.GradientTransformation, player: Player, grads: Any) -> Player:
    updates, opt_state = optimizer.update(grads, player.opt_state, player.params)
    return player.replace(params=optax.apply_updates(player.params, updates), opt_state=opt_state)
