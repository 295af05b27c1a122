"""DCGAN as a model family: generator and discriminator, the game between them, and what may be added to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from jaxgen.errors import names
from jaxgen.gan import augment, losses, noise
from jaxgen.methods.base import Family
from jaxgen.methods.dcgan_options import DCGANNetworkOptions, DCGANOptimizerOptions, GANOptions, require_together
from jaxgen.methods.options import require_whole_batch
from jaxgen.models.dcgan import Discriminator, Generator
from jaxgen.models.layers import at_least_float32
from jaxgen.optim.optimizer import ema_update, learning_rate, make_optimizer, resolved
from jaxgen.schema import Options

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
class DCGAN(Family):
    """Radford et al. 2016, with the losses and regularisers of ``config.gan``.

    A step is that of the PyTorch tutorial: the discriminator learns from real and from generated images, one forward
    pass each, then the generator from the same generated images under the discriminator so improved. With n steps of
    the discriminator, rows i, i + n, i + 2n ... of the batch are the real images of its i-th step.
    """

    draws: ClassVar[bool] = True
    sections: ClassVar[Mapping[str, type[Options]]] = {
        'optimizer': DCGANOptimizerOptions,
        'model': DCGANNetworkOptions,
        'gan': GANOptions,
    }

    generator: Generator
    discriminator: Discriminator
    optimizer: ConfigDict
    options: ConfigDict
    image_shape: tuple[int, int, int]

    @staticmethod
    def check_options(options: Mapping[str, Any], image_size: int) -> None:
        require_whole_batch(options['train'].grad_accumulation, 'DCGAN')
        require_together(options['model'], options['gan'], options['data'].batch_size, image_size)

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
            optimizer=resolved(c),
            options=options,
            image_shape=image_shape,
        )

    def optimizer_settings(self) -> tuple[ConfigDict, ConfigDict]:
        """Return the generator's and the discriminator's: warm-up and decay end at the same step for both."""
        discriminator = ConfigDict(self.optimizer)
        discriminator.learning_rate = self.options.discriminator_learning_rate or self.optimizer.learning_rate
        for name in ('warmup_steps', 'decay_steps', 'cooldown_steps'):
            if self.optimizer[name] is not None:
                discriminator[name] = self.optimizer[name] * self.options.discriminator_steps
        return self.optimizer, discriminator

    def _optimizers(self) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        generator, discriminator = self.optimizer_settings()
        return make_optimizer(generator), make_optimizer(discriminator)

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

    @property
    def metrics(self) -> tuple[str, ...]:
        always = (
            *('loss_discriminator', 'd_real', 'd_fake', 'accuracy_real', 'accuracy_fake', 'grad_norm_discriminator'),
            *('loss_generator', 'd_fake_after', 'grad_norm_generator', 'learning_rate'),
        )
        return (*always, 'noise_timesteps') if self.options.diffusion_noise else always

    def networks(self, model: Game) -> dict[str, Any]:
        return {'generator': model.generator.params, 'discriminator': model.discriminator.params}

    def augment(self, images: Array, key: Array) -> Array:
        """Without Diffusion-GAN's noise, of which the amount is the model's."""
        return augment.augment(jax.random.fold_in(key, 0), images, names(self.options.augment))

    def step(self, model: Game, batch: dict[str, Array], key: Array) -> tuple[Game, dict[str, Array]]:
        real = self.augment(batch['image'].astype(at_least_float32(self.generator.dtype)), key)
        n = self.options.discriminator_steps
        for i in range(n):
            label, turn_key = batch['label'][i::n], jax.random.fold_in(key, i + 1)
            fake, backward, model = self._generate(model, label, turn_key)
            model, metrics = self._discriminator_turn(model, real[i::n], fake, label, turn_key)
        model, more = self._generator_turn(model, fake, backward, label, turn_key)
        return self._counted(model, len(real)), metrics | more

    def _generate(self, model: Game, label: Array, key: Array) -> tuple[Array, Callable, Game]:
        """Images of new latents, the function from their gradients to those of the generator's parameters, and the
        model with the generator's next running statistics."""
        latent_key = jax.random.split(key, 4)[0]
        dtype = at_least_float32(self.generator.dtype)
        z = jax.random.normal(latent_key, (len(label), self.generator.latent_size), dtype)
        # No label is negative. But so the latents lie on the devices as the labels do, and each device makes the images of
        # its own rows: made of nothing but random numbers, all images would be made on all devices.
        z = jnp.where(label[:, None] >= 0, z, 0)
        player = model.generator

        def generate(params):
            variables = {'params': params, **player.stats}
            return self.generator.apply(variables, z, label, train=True, mutable=list(player.stats))

        fake, backward, stats = jax.vjp(generate, player.params, has_aux=True)
        return fake, backward, model.replace(generator=player.replace(stats=dict(stats)))

    def _judge(
        self, params: Any, stats: Any, images: Array, label: Array, key: Array, adaptation: dict[str, Array]
    ) -> tuple[Array, Any]:
        """The discriminator's logits of augmented images, with Diffusion-GAN's noise if asked for; its next ``stats``."""
        t = jnp.zeros(len(images), jnp.int32)
        if self.options.diffusion_noise:
            _, time_key, noise_key = jax.random.split(key, 3)  # the first is fold_in(key, 0), that of ``augment``
            timesteps = noise.num_timesteps(adaptation['strength'])
            t = noise.sample_times(time_key, len(images), timesteps)
            normal = jax.random.normal(noise_key, images.shape, images.dtype)
            images = noise.add_noise(images, normal, t, timesteps, self.options.diffusion_std)
        variables = {'params': params, **stats}
        logits, stats = self.discriminator.apply(variables, images, label, t, train=True, mutable=list(stats))
        return logits, dict(stats)

    def _discriminator_turn(
        self, model: Game, real: Array, fake: Array, label: Array, key: Array
    ) -> tuple[Game, dict[str, Array]]:
        _, real_key, fake_key, _ = jax.random.split(key, 4)
        loss, gamma = losses.LOSSES[self.options.loss], self.options.r1_gamma
        player = model.discriminator
        fake = self.augment(fake, fake_key)

        def total(params):
            real_logits, stats = self._judge(params, player.stats, real, label, real_key, model.noise)
            fake_logits, stats = self._judge(params, stats, fake, label, fake_key, model.noise)
            value = loss.real(real_logits) + loss.fake(fake_logits)
            if gamma:

                def critic(images):
                    return self._judge(params, player.stats, images, label, real_key, model.noise)[0]

                value += losses.r1_penalty(critic, real, gamma)
            return value, (stats, real_logits, fake_logits)

        (value, (stats, real_logits, fake_logits)), grads = jax.value_and_grad(total, has_aux=True)(player.params)
        metrics = {
            'loss_discriminator': value,
            'd_real': jnp.mean(jax.nn.sigmoid(real_logits)),
            'd_fake': jnp.mean(jax.nn.sigmoid(fake_logits)),
            'accuracy_real': jnp.mean(real_logits > 0, dtype=value.dtype),
            'accuracy_fake': jnp.mean(fake_logits < 0, dtype=value.dtype),
            'grad_norm_discriminator': optax.tree.norm(grads),
        }
        adaptation = model.noise
        if self.options.diffusion_noise:
            signs = jnp.mean(jnp.sign(real_logits)) / self.options.discriminator_steps
            adaptation = {**adaptation, 'signs': adaptation['signs'] + signs}
        player = _updated(self._optimizers()[1], player, grads).replace(stats=stats)
        return model.replace(discriminator=player, noise=adaptation), metrics

    def _generator_turn(
        self, model: Game, fake: Array, backward: Callable, label: Array, key: Array
    ) -> tuple[Game, dict[str, Array]]:
        generator_key = jax.random.split(key, 4)[3]
        player = model.discriminator

        def fooled(images):
            images = self.augment(images, generator_key)
            logits, stats = self._judge(player.params, player.stats, images, label, generator_key, model.noise)
            return losses.LOSSES[self.options.loss].generator(logits), (stats, logits)

        (value, (stats, logits)), by_pixel = jax.value_and_grad(fooled, has_aux=True)(fake)
        (grads,) = backward(by_pixel)
        generator = _updated(self._optimizers()[0], model.generator, grads)
        metrics = {
            'loss_generator': value,
            'd_fake_after': jnp.mean(jax.nn.sigmoid(logits)),
            'grad_norm_generator': optax.tree.norm(grads),
            'learning_rate': jnp.asarray(learning_rate(self.optimizer)(model.updates), jnp.float32),
        }
        if self.options.diffusion_noise:
            metrics['noise_timesteps'] = noise.num_timesteps(model.noise['strength']).astype(jnp.float32)
        ema = ema_update(model.ema, generator.params, model.updates, self.optimizer.ema_decay)
        return model.replace(generator=generator, discriminator=player.replace(stats=stats), ema=ema), metrics

    def _counted(self, model: Game, images: int) -> Game:
        """The model at the end of a step of so many images: the noise adapts every fourth time."""
        updates, adaptation = model.updates + 1, model.noise
        if self.options.diffusion_noise:
            options, every = self.options, noise.ADAPTATION_INTERVAL
            strength = noise.adapt(
                adaptation['strength'],
                adaptation['signs'] / every,
                options.diffusion_target,
                images * every,
                options.diffusion_images,
            )
            due = updates % every == 0
            adaptation = {
                'strength': jnp.where(due, strength, adaptation['strength']),
                'signs': jnp.where(due, 0, adaptation['signs']),
            }
        return model.replace(updates=updates, noise=adaptation)

    def sampling_variables(self, model: Game, key: Array, ema: bool) -> Any:
        """The generator as it was last trained, or its average with statistics of its own.

        These are the means of the statistics of 16 batches of 128 latents from ``key``, as in
        ``torch.optim.swa_utils.update_bn``: the running ones belong to other parameters. Before the first update they do
        not, and a generator that was imported draws with those that came with it.
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
        stats = jax.tree.map(
            lambda running, x: jnp.where(model.updates, x / STATISTICS_BATCHES, running), model.generator.stats, total
        )
        return {'params': model.ema, **stats}

    def weights(self, model: Game, key: Array, ema: bool) -> dict[str, Any]:
        player = model.discriminator
        discriminator = {'params': player.params, **player.stats}
        return {'generator': self.sampling_variables(model, key, ema), 'discriminator': discriminator}

    def started(self, weights: dict[str, Any], key: Array) -> Game:
        game = self.init(key)
        players = {
            name: getattr(game, name).replace(
                params=own['params'], stats={kind: tree for kind, tree in own.items() if kind != 'params'}
            )
            for name, own in weights.items()
        }
        return game.replace(**players, ema=jax.tree.map(jnp.copy, weights['generator']['params']))

    def sample(self, variables: Any, keys: Array, labels: Array) -> Array:
        z = jax.vmap(lambda key: jax.random.normal(key, (self.generator.latent_size,)))(keys)
        return self.generator.apply(variables, z, labels)

    def sampling_protocol(self) -> dict[str, Any]:
        return {'sampler': 'generator', 'network_calls': 1}


def _updated(optimizer: optax.GradientTransformation, player: Player, grads: Any) -> Player:
    updates, opt_state = optimizer.update(grads, player.opt_state, player.params)
    return player.replace(params=optax.apply_updates(player.params, updates), opt_state=opt_state)
