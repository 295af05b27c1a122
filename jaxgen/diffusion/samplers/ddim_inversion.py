"""DDIM inversion: the noise from which deterministic DDIM samples a given image.

Each step of DDIM is solved for its start by fixed-point iteration (Pan et al. 2023, Effective Real Image Editing with
Accelerated Iterative Diffusion Inversion). A single iteration is the usual inversion, which uses the noise estimated at the
cleaner image in place of the noise at the noisier one.

    symbol                                      variable
    x_{t-1}, the cleaner image, which is known  x_next
    x_t, the noisier image, which is sought     guess
    x_0 estimated from the guess                x0
    epsilon estimated from the guess            eps
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.samplers.base import Denoiser, step_ends
from jaxgen.types import Array

SIGMA_DATA = 0.5  # approximate standard deviation of images


class InverseStep(NamedTuple):
    """A step of DDIM to undo, from ``level`` to the level with ``next_alpha`` and ``next_sigma``."""

    level: Level
    next_alpha: Array
    next_sigma: Array


def ddim_inversion(
    denoiser: Denoiser, levels: Level, x: Float[Array, 'n ...'], *, iterations: int = 3
) -> Float[Array, 'n ...']:
    """Return the noise from which ``ddim`` with eta 0 samples the images ``x``.

    Args:
      denoiser: ``denoiser(x, level)`` is the estimate of x_0. If it is guided or clipped, the iteration may not converge.
      levels: the noise levels that DDIM visits, ``[S + 1]``, from noise to data.
      x: images.
      iterations: fixed-point iterations for each level.

    Returns:
      The noise, in the shape of ``x``.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import diffusion
      >>> def denoiser(x, level):  # exact if the images are standard normal numbers
      ...     return level.alpha * x
      >>> levels = diffusion.cosine(1000).levels(4)
      >>> images = diffusion.samplers.ddim(denoiser, levels, jnp.array([[1.0, -0.5]]))
      >>> diffusion.samplers.ddim_inversion(denoiser, levels, images, iterations=20).round(3)
      Array([[ 1. , -0.5]], dtype=float32)
    """
    start, end = step_ends(levels)
    alpha, sigma, next_alpha, next_sigma = (
        jnp.flip(jnp.asarray(array, x.dtype)) for array in (start.alpha, start.sigma, end.alpha, end.sigma)
    )
    t = jnp.flip(jnp.asarray(start.t, x.dtype))
    steps = InverseStep(Level(alpha, sigma, t), next_alpha, next_sigma)

    def body(x: Array, step: InverseStep) -> tuple[Array, None]:
        return undo_step(denoiser, x, step, iterations), None

    return jax.lax.scan(body, x, steps)[0]


def undo_step(denoiser: Denoiser, x_next: Array, step: InverseStep, iterations: int) -> Array:
    """Return the x_t from which one step of DDIM leads to ``x_next``."""
    (alpha, sigma, _), next_alpha, next_sigma = step
    noise_ratio, alpha_ratio = next_sigma / sigma, alpha / next_alpha
    solve_for_noise = _noise_equation_contracts_faster(step)

    def iterate(guess: Array, _: None) -> tuple[Array, None]:
        x0 = denoiser(guess, step.level)
        eps = (guess - alpha * x0) / sigma
        from_noise = alpha_ratio * (x_next - next_sigma * eps) + sigma * eps
        from_x0 = (x_next - (next_alpha - noise_ratio * alpha) * x0) / jnp.where(noise_ratio > 0, noise_ratio, 1)
        return jnp.where(solve_for_noise, from_noise, from_x0), None

    return jax.lax.scan(iterate, x_next, None, length=iterations)[0]


def _noise_equation_contracts_faster(step: InverseStep) -> Array:
    """Return whether the fixed-point equation for the noise contracts faster than the equation for x_0.

    One of them contracts where there is little noise, the other where there is much. This compares their approximate
    contraction factors for Gaussian data of standard deviation ``SIGMA_DATA``. For a step that ends without noise only the
    equation for the noise exists.
    """
    (alpha, sigma, _), next_alpha, next_sigma = step
    noise_ratio, alpha_ratio = next_sigma / sigma, alpha / next_alpha
    slope_of_x0 = alpha * SIGMA_DATA**2 / (alpha**2 * SIGMA_DATA**2 + sigma**2)  # approximate derivative d x_0 / d x
    factor_of_noise = jnp.abs(1 - alpha_ratio * noise_ratio) * jnp.abs(1 - alpha * slope_of_x0)
    return factor_of_noise < (next_alpha / noise_ratio - alpha) * slope_of_x0
