"""Images from images: where on the way from noise an edit starts, what it keeps, and what lies between two starts."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Float

from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.noise import initial_noise
from jaxgen.types import Array


def last_levels(levels: Level, strength: float) -> Level:
    """Return the levels of the last steps of a sampler, as in SDEdit (Meng et al. 2022).

    Args:
      levels: all levels, ``[S + 1]``.
      strength: share of the steps; 1 keeps all of them, and near 0 the last step remains.
    """
    num_steps = len(levels.t) - 1
    first = num_steps - max(1, round(strength * num_steps))
    return Level(*(array[first:] for array in levels))


def noisy_start(
    x0: Float[Array, 'h w c'], noise: Float[Array, 'n h w c'], levels: Level, *, strength: float, inpaints: bool
) -> Float[Array, 'n h w c']:
    """Return x at the first of the levels: the image under noise, or noise alone where nothing of the image is to stay.

    Args:
      x0: the image.
      noise: standard normal noise.
      levels: as ``last_levels`` gives them.
      strength: share of the steps; at 1 nothing of the image stays.
      inpaints: whether a mask keeps a part of the image.
    """
    alpha, sigma = levels.alpha[0], levels.sigma[0]
    if not inpaints and (float(alpha) == 0 or strength == 1):
        return initial_noise(levels, noise)
    return alpha * x0 + sigma * noise


def keep_known(known: Float[Array, ' ...'], mask: Float[Array, ' *mask']) -> Callable[[Array], Array]:
    """Return a function that replaces estimates of x_0 by ``known`` where ``mask`` is 0, so that any sampler ends there.

    Args:
      known: images ``[N, H, W, C]``, or an array that broadcasts to them.
      mask: 1 where the model paints, of a shape that broadcasts to the images.
    """
    return lambda x0: jnp.where(mask > 0, x0, known)


def slerp(a: Float[Array, ' ...'], b: Float[Array, ' ...'], share: Float[Array, ' k']) -> Float[Array, 'k ...']:
    """Interpolate on the great circle from ``a`` to ``b``.

    Args:
      a: an array, which counts as one vector.
      b: another of the same shape.
      share: places on the way, 0 for ``a`` and 1 for ``b``.
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
