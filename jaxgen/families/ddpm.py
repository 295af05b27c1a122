"""Denoising diffusion (Ho et al. 2020) as a model family."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from jaxgen.diffusion.process import noise_prediction_loss, noise_to_x0
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.schedules import SCHEDULES, Schedule
from jaxgen.errors import check, pick
from jaxgen.models.layers import at_least_float32
from jaxgen.models.unet import UNet, attention_levels
from jaxgen.training.optimizer import ema_update, learning_rate, make_optimizer, value_and_grad

Array = jax.Array


@flax.struct.dataclass
class Denoiser:
    """Parameters, their moving average, the optimiser's state and the number of its updates."""

    params: Any
    ema: Any
    opt_state: Any
    updates: Array


@dataclasses.dataclass(frozen=True)
class DDPM:
    """A network that predicts the noise, trained by equation 14, sampled by any of ``SAMPLERS``."""

    draws: ClassVar[bool] = True

    network: nn.Module
    schedule: Schedule
    optimizer: ConfigDict
    image_shape: tuple[int, int, int]
    grad_accumulation: int = 1
    sampler: str = 'ddim'
    num_steps: int = 50

    @staticmethod
    def fields(c: ConfigDict) -> None:
        """Adds the fields of this family to a config, the values of Ho et al. 2020 for CIFAR-10 in them."""
        c.model = ConfigDict()
        c.model.name = 'unet'
        c.model.conditional = False  # class labels as an input
        c.model.base_channels = 128
        c.model.channel_multipliers = (1, 2, 2, 2)
        c.model.num_res_blocks = 2
        c.model.attention_resolutions = (16,)
        c.model.num_heads = 1
        c.model.attention_head_dim = 0  # channels of each head, instead of their number; 0 leaves it to num_heads
        c.model.dropout = 0.1
        c.model.norm_groups = 32
        c.model.norm_eps = 1e-6
        c.model.freq_shift = 1  # this and the next two are the paper's; diffusers' own defaults are 0, True and 1
        c.model.flip_sin_to_cos = False
        c.model.downsample_padding = 0
        c.model.patch_size = 1
        c.model.dtype = 'float32'  # of the computation: float32 or bfloat16

        c.diffusion = ConfigDict()
        c.diffusion.schedule = 'linear'
        c.diffusion.timesteps = 1000

        c.optimizer.warmup_steps = 5000
        c.optimizer.grad_clip_norm = 1.0

        c.sample.sampler = 'ddim'
        c.sample.num_steps = 50

    @staticmethod
    def check(c: ConfigDict, image_size: int) -> None:
        """Refuses what this family cannot be.

        Raises:
          UserError: one sentence naming the field.
        """
        model = c.model
        pick(c.diffusion.schedule, SCHEDULES, 'config.diffusion.schedule')
        pick(c.sample.sampler, SAMPLERS, 'config.sample.sampler')
        check(
            c.sample.num_steps <= c.diffusion.timesteps,
            f'config.sample.num_steps={c.sample.num_steps} is more than config.diffusion.timesteps='
            f'{c.diffusion.timesteps}',
        )
        pick(model.name, ('unet',), 'config.model.name')
        check(0 <= model.dropout < 1, f'config.model.dropout={model.dropout} must be at least 0 and below 1')
        check(
            len(model.channel_multipliers) > 0 and min(model.channel_multipliers) > 0,
            f'config.model.channel_multipliers={model.channel_multipliers} must be positive numbers',
        )
        check(
            model.base_channels >= 4 and model.base_channels % 2 == 0,
            f'config.model.base_channels={model.base_channels} must be even and at least 4',
        )
        halvings = 2 ** (len(model.channel_multipliers) - 1) * model.patch_size
        check(
            image_size % halvings == 0,
            f'config.data.image_size={image_size} does not divide by {halvings}: config.model.channel_multipliers has '
            f'{len(model.channel_multipliers)} levels and config.model.patch_size is {model.patch_size}',
        )
        check(
            model.freq_shift < model.base_channels // 2,
            f'config.model.freq_shift={model.freq_shift} must be below half of config.model.base_channels='
            f'{model.base_channels}',
        )
        check(
            model.downsample_padding in (0, 1),
            f'config.model.downsample_padding={model.downsample_padding} must be 0 or 1',
        )
        check(model.norm_eps > 0, f'config.model.norm_eps={model.norm_eps} must be positive')
        DDPM._check_widths(model, image_size // model.patch_size)

    @staticmethod
    def _check_widths(model: ConfigDict, side: int) -> None:
        levels = len(model.channel_multipliers)
        attended = *attention_levels(levels, model.attention_resolutions, side), levels - 1  # the middle has it too
        for level, multiplier in enumerate(model.channel_multipliers):
            width = model.base_channels * multiplier
            by_width = ('attention_head_dim',) if level in attended else ()
            for field in ('norm_groups', *(by_width if model.attention_head_dim else ('num_heads',))):
                check(
                    width % model[field] == 0,
                    f'config.model.{field}={model[field]} does not divide a level of {width} channels '
                    f'(config.model.base_channels={model.base_channels} times {multiplier})',
                )

    @classmethod
    def from_config(cls, config: ConfigDict, image_shape: tuple[int, int, int], num_classes: int) -> DDPM:
        model = config.model.to_dict()
        del model['name']
        conditional = model.pop('conditional')
        model['dtype'] = jnp.dtype(model['dtype'])
        return cls(
            network=UNet(out_channels=image_shape[-1], num_classes=num_classes if conditional else 0, **model),
            schedule=SCHEDULES[config.diffusion.schedule](config.diffusion.timesteps),
            optimizer=config.optimizer,
            image_shape=image_shape,
            grad_accumulation=config.train.grad_accumulation,
            sampler=config.sample.sampler,
            num_steps=config.sample.num_steps,
        )

    def init(self, key: Array) -> Denoiser:
        example = jnp.zeros((1, *self.image_shape)), jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32)
        return self.start(self.network.init(key, *example)['params'])

    def start(self, params: Any) -> Denoiser:
        """The model before the first step, with these parameters."""
        ema = jax.tree.map(jnp.copy, params)
        return Denoiser(params, ema, make_optimizer(self.optimizer).init(params), jnp.zeros((), jnp.int32))

    def networks(self, model: Denoiser) -> dict[str, Any]:
        return {'unet': model.params}

    def step(self, model: Denoiser, batch: dict[str, Array], key: Array) -> tuple[Denoiser, dict[str, Array]]:
        time_key, noise_key, dropout_key = jax.random.split(key, 3)
        x0 = batch['image'].astype(at_least_float32(self.network.dtype))
        examples = {
            'x0': x0,
            'noise': jax.random.normal(noise_key, x0.shape, x0.dtype),
            't': jax.random.randint(time_key, x0.shape[:1], 0, self.schedule.timesteps),
            'label': batch['label'],
        }

        def loss(params, ex, key):
            def predict(x, t):
                rngs = {'dropout': key}
                return self.network.apply({'params': params}, x, t, ex['label'], train=True, rngs=rngs)

            return jnp.mean(noise_prediction_loss(predict, self.schedule, ex['x0'], ex['noise'], ex['t']))

        value, grads = value_and_grad(loss, model.params, examples, dropout_key, self.grad_accumulation)
        updates, opt_state = make_optimizer(self.optimizer).update(grads, model.opt_state, model.params)
        params = optax.apply_updates(model.params, updates)
        metrics = {
            'loss': value,
            'grad_norm': optax.tree.norm(grads),
            'learning_rate': jnp.asarray(learning_rate(self.optimizer)(model.updates), jnp.float32),
        }
        ema = ema_update(model.ema, params, model.updates, self.optimizer.ema_decay)
        return Denoiser(params, ema, opt_state, model.updates + 1), metrics

    def augment(self, images: Array, key: Array) -> Array:
        return images

    def sampling_variables(self, model: Denoiser, key: Array, ema: bool) -> Any:
        return {'params': model.ema if ema else model.params}

    def sample(self, variables: Any, keys: Array, labels: Array) -> Array:
        def normal(i):
            fold = jax.vmap(jax.random.fold_in, (0, None))
            return jax.vmap(lambda k: jax.random.normal(k, self.image_shape))(fold(keys, i))

        def denoise(x, t):
            t = jnp.full(len(labels), t)
            noise = self.network.apply(variables, x, t, labels)
            return jnp.clip(noise_to_x0(self.schedule, x, noise, t), -1.0, 1.0)

        start, steps = normal(0), lambda i: normal(i + 1)
        return SAMPLERS[self.sampler](denoise, self.schedule, start, steps, self.num_steps)

    def sampling_protocol(self) -> dict[str, Any]:
        return {
            'sampler': self.sampler,
            'num_steps': self.num_steps,
            'network_calls': self.num_steps,
            'guidance_scale': 1.0,  # the network's own estimate
        }
