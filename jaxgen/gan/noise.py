"""Diffusion-GAN (Wang et al. 2023): the discriminator sees images at a random timestep of a diffusion of adaptive length.

The number of timesteps T grows while the discriminator is too confident about real images, and shrinks otherwise. The betas rise
linearly from 1e-4 to 0.02 for any T, so that a longer diffusion ends with more noise.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxgen.types import Array

__all__ = ['adapt', 'add_noise', 'alphas_cumprod', 'num_timesteps', 'sample_times']

# The values of the authors' code.
T_MIN, T_MAX = 10, 1000
BETA_MIN, BETA_MAX = 1e-4, 0.02
ADAPTATION_INTERVAL = 4  # training steps between two adaptations


def num_timesteps(strength: Float[Array, ''] | float) -> Int[Array, '']:
    """Return the number of timesteps T.

    Args:
      strength: strength of the noise, from 0 to 1.

    Returns:
      The number of timesteps, from 10 at strength 0 to 1,000 at strength 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import gan
      >>> int(gan.noise.num_timesteps(jnp.array(0.5)))
      505
    """
    return (T_MIN + jnp.round(strength * (T_MAX - T_MIN))).astype(jnp.int32)


def alphas_cumprod(timesteps: Int[Array, ''] | int) -> Float[Array, ' t']:
    """Return the product of ``1 - beta`` over timesteps 1 to t, for each t.

    Args:
      timesteps: number of timesteps T.

    Returns:
      The products for t = 0 ... T_MAX; entries above T have no meaning.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import gan
      >>> gan.noise.alphas_cumprod(jnp.array(10))[:2].round(4).tolist()
      [1.0, 0.9998...]
    """
    i = jnp.arange(T_MAX)
    betas = BETA_MIN + (BETA_MAX - BETA_MIN) * jnp.minimum(i / (timesteps - 1), 1)
    return jnp.concatenate([jnp.ones(1), jnp.exp(jnp.cumsum(jnp.log1p(-betas)))])


def sample_times(key: Array, num: int, timesteps: Int[Array, ''] | int) -> Int[Array, ' n']:
    """Sample timesteps from the priority distribution: 0 with probability 1/2, else t in 1 ... T in proportion to t - 1.

    The authors sample 32 timesteps t > 0 every few steps, add 32 zeros, and choose among these 64. Here the timestep of every
    image is an independent sample from the same distribution.

    Args:
      key: random key.
      num: number of images.
      timesteps: number of timesteps T.

    Returns:
      The timestep of each image, from 0 to T.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxgen import gan
      >>> gan.noise.sample_times(jax.random.key(0), 4, jnp.array(10)).shape
      (4,)
    """
    half, quantile = jax.random.uniform(key, (2, num))
    # j = t - 1 has probability j / (T (T - 1) / 2), so the sum up to j reaches p where j (j + 1) = p T (T - 1).
    total = timesteps * (timesteps - 1.0)
    j = jnp.ceil((jnp.sqrt(1 + 4 * quantile * total) - 1) / 2)
    t = 1 + jnp.clip(j, 1, timesteps - 1).astype(jnp.int32)
    return jnp.where(half < 0.5, 0, t)


def add_noise(
    images: Float[Array, 'n h w c'],
    noise: Float[Array, 'n h w c'],
    t: Int[Array, ' n'],
    timesteps: Int[Array, ''] | int,
    std: float,
) -> Float[Array, 'n h w c']:
    """Return ``sqrt(alphas_cumprod_t) x + sqrt(1 - alphas_cumprod_t) std noise``.

    Args:
      images: images in [-1, 1].
      noise: standard normal noise.
      t: timestep of each image.
      timesteps: number of timesteps T.
      std: standard deviation of the noise.

    Returns:
      The noisy images.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import gan
      >>> images, noise = jnp.ones((2, 4, 4, 1)), jnp.zeros((2, 4, 4, 1))
      >>> noisy = gan.noise.add_noise(images, noise, jnp.array([0, 1000]), jnp.array(1000), std=0.5)
      >>> noisy[:, 0, 0, 0].round(4).tolist()
      [1.0, 0.0063...]
    """
    a = alphas_cumprod(timesteps)[t][:, None, None, None].astype(images.dtype)
    return jnp.sqrt(a) * images + jnp.sqrt(1 - a) * std * noise


def adapt(
    strength: Float[Array, ''] | float,
    signs: Float[Array, ''] | float,
    target: float,
    *,
    num_images: float,
    images_to_full: float,
) -> Float[Array, '']:
    """Return the next strength: higher by ``num_images / images_to_full`` if ``signs`` is above ``target``, else lower.

    Args:
      strength: strength of the noise, from 0 to 1.
      signs: mean of sign(D(x)) over the real images since the last adaptation, from -1 to 1.
      target: the mean sign at which the adaptation aims.
      num_images: number of images since the last adaptation.
      images_to_full: number of images over which the strength can rise from 0 to 1.

    Returns:
      The next strength, from 0 to 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import gan
      >>> strength, signs = jnp.array(0.25), jnp.array(0.9)  # the discriminator is too confident
      >>> float(gan.noise.adapt(strength, signs, 0.6, num_images=64, images_to_full=256))
      0.5
    """
    return jnp.clip(strength + jnp.sign(signs - target) * num_images / images_to_full, 0.0, 1.0)
