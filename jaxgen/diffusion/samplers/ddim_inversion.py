"""DDIM inversion: the noise from which deterministic DDIM samples a given image.

Each step of DDIM is solved for its start by fixed-point iteration (Pan et al. 2023, Effective Real Image Editing with
Accelerated Iterative Diffusion Inversion). One iteration is the usual inversion, which takes the noise estimate at the
cleaner image for that at the noisier one.

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
    """One step of DDIM to undo: ``level`` is its start, ``next_alpha`` and ``next_sigma`` its end."""

    level: Level
    next_alpha: Array
    next_sigma: Array


def ddim_inversion(
    denoiser: Denoiser, levels: Level, x: Float[Array, 'n ...'], *, iterations: int = 3
) -> Float[Array, 'n ...']:
    """Return the start from which ``ddim`` with eta 0 samples the images ``x``.

    Args:
      denoiser: ``denoiser(x, level)`` is the estimate of x_0; neither guided nor clipped, or the iteration need not converge.
      levels: those that DDIM visits, ``[S + 1]``, from noise to data.
      x: images.
      iterations: fixed-point iterations for each level.

    Returns:
      The start, in the shape of ``x``.

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
    """Choose between two forms of the fixed-point equation: one contracts where there is little noise, the other where much.

    Compares their approximate contraction factors for Gaussian data of deviation ``SIGMA_DATA``. Without noise at the end
    only the first form exists.
    """
    (alpha, sigma, _), next_alpha, next_sigma = step
    noise_ratio, alpha_ratio = next_sigma / sigma, alpha / next_alpha
    slope_of_x0 = alpha * SIGMA_DATA**2 / (alpha**2 * SIGMA_DATA**2 + sigma**2)  # approximate derivative d x_0 / d x
    factor_of_noise = jnp.abs(1 - alpha_ratio * noise_ratio) * jnp.abs(1 - alpha * slope_of_x0)
    return factor_of_noise < (next_alpha / noise_ratio - alpha) * slope_of_x0
