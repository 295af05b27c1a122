"""Diffusion-GAN (Wang et al. 2022): the discriminator sees images at a random time of a diffusion of adaptive length.

The length T grows while the discriminator is too sure of real images, and shrinks while it is not. The steps of noise
are linear from 1e-4 to 0.02 at any T, so that a longer diffusion ends in more noise.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array

T_MIN, T_MAX = 10, 1000  # as in the authors' code, like all numbers here
BETA_MIN, BETA_MAX = 1e-4, 0.02
ADAPTATION_INTERVAL = 4  # steps


def num_timesteps(strength: Array) -> Array:
    """T, int32, for a strength in [0, 1]: from 10 to 1,000."""
    return (T_MIN + jnp.round(strength * (T_MAX - T_MIN))).astype(jnp.int32)


def alphas_cumprod(timesteps: Array) -> Array:
    """``[T_MAX + 1]``: the product of 1 - beta over times 1 .. t, at t = 0 .. T; entries past ``timesteps`` mean nothing."""
    i = jnp.arange(T_MAX)
    betas = BETA_MIN + (BETA_MAX - BETA_MIN) * jnp.minimum(i / (timesteps - 1), 1)
    return jnp.concatenate([jnp.ones(1), jnp.exp(jnp.cumsum(jnp.log1p(-betas)))])


def sample_times(key: Array, num: int, timesteps: Array) -> Array:
    """Times ``[num]`` of the priority law: 0 with probability 1/2, else t in 1 .. T in proportion to t - 1.

    The authors draw 32 times from the second part every few steps, put 32 zeros beside them, and choose among these
    64; here every image has a draw of its own from the same law.
    """
    half, place = jax.random.uniform(key, (2, num))
    # t - 1 = j has probability j / (T (T - 1) / 2): the sum up to j reaches p where j (j + 1) = p T (T - 1).
    total = timesteps * (timesteps - 1.0)
    j = jnp.ceil((jnp.sqrt(1 + 4 * place * total) - 1) / 2)
    t = 1 + jnp.clip(j, 1, timesteps - 1).astype(jnp.int32)
    return jnp.where(half < 0.5, 0, t)


def add_noise(images: Array, noise: Array, t: Array, timesteps: Array, std: float) -> Array:
    """``sqrt(a_t) x + sqrt(1 - a_t) std noise`` for images and standard normal noise ``[N, H, W, C]`` and times ``[N]``."""
    a = alphas_cumprod(timesteps)[t][:, None, None, None].astype(images.dtype)
    return jnp.sqrt(a) * images + jnp.sqrt(1 - a) * std * noise


def adapt(strength: Array, signs: Array, target: float, images: float, speed: float) -> Array:
    """The next strength: up by ``images / speed`` if the mean sign of real logits is above ``target``, else down.

    Args:
      strength: in [0, 1].
      signs: mean of sign(D(x)) since the last adaptation, in [-1, 1].
      images: seen since the last adaptation.
      speed: images over which the strength can go from 0 to 1.
    """
    return jnp.clip(strength + jnp.sign(signs - target) * images / speed, 0.0, 1.0)
