"""The parts of an image edit: its start at a noise level, the pixels that it keeps, and interpolation between two starts."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Float

from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.samplers.base import initial_noise
from jaxgen.types import Array


def last_levels(levels: Level, strength: float) -> Level:
    """Return the levels of the last steps of a sampler, as in SDEdit (Meng et al. 2022).

    Args:
      levels: all levels, ``[S + 1]``.
      strength: share of the steps to keep: 1 keeps all of them, a value near 0 only the last.
    """
    num_steps = len(levels.t) - 1
    first = num_steps - max(1, round(strength * num_steps))
    return Level(*(array[first:] for array in levels))


def noisy_start(
    x0: Float[Array, 'h w c'], noise: Float[Array, 'n h w c'], levels: Level, *, strength: float, inpaints: bool
) -> Float[Array, 'n h w c']:
    """Return x at the first of the levels: the image with noise added, or pure noise if nothing of the image is kept.

    Args:
      x0: the image.
      noise: standard normal noise.
      levels: the noise levels that ``last_levels`` returned.
      strength: the argument of ``last_levels``; 1 keeps nothing of the image, unless a mask does.
      inpaints: whether a mask keeps a part of the image.
    """
    alpha, sigma = levels.alpha[0], levels.sigma[0]
    if not inpaints and (float(alpha) == 0 or strength == 1):
        return initial_noise(levels, noise)
    return alpha * x0 + sigma * noise


def keep_known(known: Float[Array, ' ...'], mask: Float[Array, ' *mask']) -> Callable[[Array], Array]:
    """Return a function that replaces estimates of x_0 by ``known`` where ``mask`` is 0, so that samples agree with it there.

    Args:
      known: images ``[N, H, W, C]``, or an array that broadcasts to them.
      mask: 1 where the model paints, of a shape that broadcasts to the images.
    """
    return lambda x0: jnp.where(mask > 0, x0, known)


def slerp(a: Float[Array, ' ...'], b: Float[Array, ' ...'], share: Float[Array, ' k']) -> Float[Array, 'k ...']:
    """Interpolate along the great circle from ``a`` to ``b``.

    Args:
      a: an array, which is treated as one vector.
      b: an array of the same shape.
      share: positions on the circle, from 0 for ``a`` to 1 for ``b``.
    """
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    cosine = flat_a @ flat_b / (jnp.linalg.norm(flat_a) * jnp.linalg.norm(flat_b))
    angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    share = share.reshape((-1,) + (1,) * a.ndim)
    parallel = angle < 1e-4  # the circle is a straight line there
    safe_angle = jnp.where(parallel, 1.0, angle)
    weight_a = jnp.where(parallel, 1 - share, jnp.sin((1 - share) * safe_angle) / jnp.sin(safe_angle))
    weight_b = jnp.where(parallel, share, jnp.sin(share * safe_angle) / jnp.sin(safe_angle))
    return weight_a * a + weight_b * b
