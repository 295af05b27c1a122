"""Images from images: where on the way from noise an edit sets out, what it keeps, and what lies between two starts."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.diffusion.schedules import Level

Array = jax.Array


def from_strength(levels: Level, strength: float) -> Level:
    """The last ``strength`` of the way: at 1 all levels, near 0 the last step alone (Meng et al. 2022, SDEdit)."""
    num_steps = len(levels.t) - 1
    first = num_steps - max(1, round(strength * num_steps))
    return Level(*(z[first:] for z in levels))


def start(x0: Array, noise: Array, levels: Level, strength: float, painted: bool) -> Array:
    """x at the first of the levels: ``x0 [H, W, C]`` under ``noise [N, H, W, C]``, or noise alone where nothing is to stay.

    Args:
      painted: whether a mask keeps a part of ``x0``.
    """
    alpha, sigma = levels.alpha[0], levels.sigma[0]
    if not painted and (float(alpha) == 0 or strength == 1):
        return jnp.asarray(np.hypot(alpha, sigma), jnp.float32) * noise
    return alpha * x0 + sigma * noise


def keeping(known: Array, mask: Array) -> Callable[[Array], Array]:
    """Changes estimates of x_0 to ``known`` wherever ``mask`` is 0, so that any sampler ends there with just that.

    Args:
      known: ``[N, H, W, C]`` or what broadcasts to it.
      mask: ``[H, W, 1]``, 1 where the model paints.
    """
    return lambda x0: jnp.where(mask > 0, x0, known)


def slerp(a: Array, b: Array, share: Array) -> Array:
    """On the great circle from ``a`` to ``b``, each of which counts as one vector; ``share`` ``[K]`` gives ``[K, ...]``."""
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    cosine = flat_a @ flat_b / (jnp.linalg.norm(flat_a) * jnp.linalg.norm(flat_b))
    angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    share = share.reshape((-1,) + (1,) * a.ndim)
    near = angle < 1e-4  # one direction: the circle is a straight line there
    safe = jnp.where(near, 1.0, angle)
    from_a = jnp.where(near, 1 - share, jnp.sin((1 - share) * safe) / jnp.sin(safe))
    from_b = jnp.where(near, share, jnp.sin(share * safe) / jnp.sin(safe))
    return from_a * a + from_b * b
