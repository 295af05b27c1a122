"""The networks of a trained model as they look at labelled images: a denoiser at several levels of noise, a GAN's two."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.apps.interpret.activations import Probe
from jaxgen.apps.trained import Trained
from jaxgen.diffusion.noise import step_noise
from jaxgen.diffusion.schedules import DiscreteSchedule, Level
from jaxgen.methods.dcgan import DCGAN
from jaxgen.methods.diffusion.method import Diffusion

Array = jax.Array


def probes_of(trained: Trained, variables: Any, num_levels: int) -> list[Probe]:
    """The first is the network that draws, the last one that sees nothing but a picture, and need not be told of what.

    A denoiser that knows classes is both, told the class of an image, and untold: told that there is none or, where it was
    not trained for that, a class at random. What tells classes apart in the one by the label alone does not in the other.
    A generator is looked at with latents instead of images, and only where it knows classes.

    Args:
      variables: that the model draws with.
      num_levels: of noise, for a denoiser.
    """
    method = trained.method
    if method.capabilities.denoises:
        levels, name = probed_levels(method, variables, num_levels), type(method.network).__name__.lower()
        told = Probe(
            name, _denoiser(method, levels, lambda labels, keys: labels), variables, level_names(method, levels)
        )
        if not method.capabilities.knows_classes:
            return [told]
        untold = _denoiser(method, levels, lambda labels, keys: _untold(method, len(trained.class_names), keys))
        return [told, dataclasses.replace(told, network=f'{name}_untold', look=untold)]
    discriminator = Probe('discriminator', _discriminator(method), trained.model.discriminator.variables, ('images',))
    if not method.capabilities.knows_classes:
        return [discriminator]
    return [Probe('generator', _generator(method), variables, ('latents',)), discriminator]


def probed_levels(method: Diffusion, variables: Any, num: int) -> Level:
    """Every second level of a sampler of 2 ``num`` steps, the noisiest first: ``[num]``."""
    levels = method.levels(variables, 2 * num)
    return Level(*(np.asarray(z)[1:-1:2] for z in levels))


def level_names(method: Diffusion, levels: Level) -> tuple[str, ...]:
    """By timestep, or sigma / alpha where the schedule has none."""
    if isinstance(method.schedule, DiscreteSchedule):
        return tuple(f't={t:.0f}' for t in levels.t)
    return tuple(f'σ/α={ratio:.3g}' for ratio in levels.sigma / levels.alpha)


def _untold(method: Diffusion, num_classes: int, keys: Array) -> Array:
    if method.label_dropout:
        return jnp.full(len(keys), method.null_label, jnp.int32)
    return jax.vmap(lambda key: jax.random.randint(key, (), 0, num_classes))(keys)


def _denoiser(method: Diffusion, levels: Level, tell: Callable[[Array, Array], Array]) -> Callable:
    table = Level(*(jnp.asarray(z, jnp.float32) for z in levels))

    def look(variables: Any, images: Array, labels: Array, keys: Array, level: Array) -> Any:
        at = Level(*(z[level] for z in table))
        noise = step_noise(keys, level, images.shape[1:])
        predict = method.predictor(variables, tell(labels, keys), clip=False)
        return predict(at.alpha * images + at.sigma * noise, at)

    return look


def _generator(method: DCGAN) -> Callable:
    def look(variables: Any, images: Array, labels: Array, keys: Array, level: Array) -> Array:
        return method.sample(variables, keys, labels)

    return look


def _discriminator(method: DCGAN) -> Callable:
    def look(variables: Any, images: Array, labels: Array, keys: Array, level: Array) -> Array:
        return method.discriminator.apply(variables, images, labels, jnp.zeros_like(labels))

    return look
