"""Gaussian noise for sampling: the noise of each image at each step, and the noise from which sampling starts."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float, Key

from jaxgen.diffusion.levels import Level
from jaxgen.runtime.random import normal_of_each
from jaxgen.types import Array

Noise = Callable[[Array], Array]  # noise(i): standard normal noise for step i of a sampler


def step_noise(keys: Key[Array, ' n'], i: Array | int, image_shape: tuple[int, ...]) -> Float[Array, 'n h w c']:
    """Return standard normal noise number ``i`` of each image, which depends only on the image's key and ``i``.

    Number 0 is the noise that sampling starts from, and step i of a sampler adds number i + 1; see ``noise_of_steps``.
    """
    numbered = jax.vmap(jax.random.fold_in, (0, None))(keys, i)
    return normal_of_each(numbered, image_shape)


def noise_of_steps(keys: Key[Array, ' n'], image_shape: tuple[int, ...]) -> Noise:
    """Return the function that gives a sampler the noise of its step ``i``."""
    return lambda i: step_noise(keys, i + 1, image_shape)


def initial_noise(levels: Level, normal: Float[Array, 'n ...']) -> Float[Array, 'n ...']:
    """Scale standard normal noise to alpha^2 + sigma^2 at the first level, the variance of noisy images of unit variance."""
    std = jnp.sqrt(jnp.asarray(levels.alpha[0] ** 2 + levels.sigma[0] ** 2, jnp.float32))
    return std * normal
