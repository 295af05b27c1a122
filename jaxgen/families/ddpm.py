"""Denoising diffusion (Ho et al. 2020) as a model family."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from jaxgen.diffusion.process import noise_prediction_loss, noise_to_x0
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.schedules import SCHEDULES, Schedule
from jaxgen.models.layers import at_least_float32
from jaxgen.models.unet import UNet
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

    network: nn.Module
    schedule: Schedule
    optimizer: ConfigDict
    image_shape: tuple[int, int, int]
    grad_accumulation: int = 1
    sampler: str = 'ddim'
    num_steps: int = 50

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
        params = self.network.init(key, *example)['params']
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

    def sample(self, model: Denoiser, keys: Array, labels: Array, ema: bool) -> Array:
        params = model.ema if ema else model.params

        def normal(i):
            fold = jax.vmap(jax.random.fold_in, (0, None))
            return jax.vmap(lambda k: jax.random.normal(k, self.image_shape))(fold(keys, i))

        def denoise(x, t):
            t = jnp.full(len(labels), t)
            noise = self.network.apply({'params': params}, x, t, labels)
            return jnp.clip(noise_to_x0(self.schedule, x, noise, t), -1.0, 1.0)

        start, steps = normal(0), lambda i: normal(i + 1)
        return SAMPLERS[self.sampler](denoise, self.schedule, start, steps, self.num_steps)
