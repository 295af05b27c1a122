"""Classifier-free guidance (Ho & Salimans 2022)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxgen.diffusion.schedules import Level

Array = jax.Array


class Guidance(Protocol):
    """How much, and where: ``low < sigma / alpha < high`` (Kynkaanniemi et al. 2024); a ``guidance_high`` of 0 sets no limit."""

    guidance_scale: float
    guidance_low: float
    guidance_high: float
    guidance_rescale: float


def guided(
    own: Callable[[Array, Level, Array], tuple], x: Array, level: Level, labels: Array, no_class: int, by: Guidance
) -> tuple[Any, ...]:
    """x_0 without the class plus ``guidance_scale`` times what the class adds, from one batch of twice the size.

    Args:
      own: ``(x_0, ...)`` of the network for these labels; what comes after x_0 is that with the class.
      no_class: the label that stands for none.
    """

    def both(x):
        with_class, without = jnp.asarray(labels), jnp.full_like(labels, no_class)
        results = own(jnp.concatenate([x, x]), level, jnp.concatenate([with_class, without]))
        (x0, plain), *rest = (jnp.split(result, 2) for result in results)
        mixed = plain + by.guidance_scale * (x0 - plain)
        return rescaled(mixed, x0, by.guidance_rescale), *(first for first, _ in rest)

    here = level.sigma > by.guidance_low * level.alpha
    if by.guidance_high:
        here &= level.sigma < by.guidance_high * level.alpha
    return jax.lax.cond(here, both, lambda x: tuple(own(x, level, labels)), x)


def rescaled(mixed: Array, x0: Array, share: float) -> Array:
    """``mixed`` with the standard deviation of ``x0``, image by image, as far as ``share`` (Lin et al. 2023, section 3.4)."""
    if not share:
        return mixed
    axes = tuple(range(1, x0.ndim))
    ratio = jnp.std(x0, axes, keepdims=True) / jnp.std(mixed, axes, keepdims=True)
    return mixed * (share * ratio + 1 - share)
