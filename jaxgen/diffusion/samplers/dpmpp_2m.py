"""DPM-Solver++(2M), a second-order multistep method, and its stochastic version, SDE-DPM-Solver++(2M).

Lu et al. 2022 (DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models), algorithm 2.

    symbol in the paper                         variable
    x~_{t_{i-1}}, x~_{t_i}                      carry.x before and after the step
    x_theta(x~_{t_{i-1}}, t_{i-1})              x0
    x_theta(x~_{t_{i-2}}, t_{i-2})              carry.previous_x0
    lambda_t = log(alpha_t / sigma_t)           log_snr, half of the logarithm of the signal-to-noise ratio
    h_i, h_{i-1}                                h, previous_h
    1 / (2 r_i) = h_i / (2 h_{i-1})             half_ratio
    D_i                                         d
    z                                           noise(i)
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgen.diffusion.levels import Level, Schedule
from jaxgen.diffusion.samplers.base import Carry, Denoiser, Noise, Sampler, Step, array_module, step_ends
from jaxgen.types import Array


class DPMCoefficients(NamedTuple):
    """x_next = coef_d D + coef_xt x + std noise, D = x_0 + half_ratio (x_0 - previous x_0)."""

    coef_d: Array
    coef_xt: Array
    std: Array
    half_ratio: Array


@dataclasses.dataclass(frozen=True)
class DPMpp2M(Sampler):
    """DPM-Solver++(2M).

    Attributes:
      sde: whether to solve the stochastic equation, which adds noise in each step, instead of the deterministic one.

    Example:
      >>> from jaxgen import diffusion
      >>> diffusion.samplers.DPMpp2M(sde=True).stochastic
      True
    """

    order: ClassVar[int] = 2

    sde: bool = False

    @property
    def stochastic(self) -> bool:
        """Whether the steps add noise."""
        return self.sde

    def first_carry(self, x: Array) -> Carry:
        """Return ``x``, and zeros as the previous estimate, which the first step multiplies by 0."""
        return Carry(x, jnp.zeros_like(x))

    def coefficients(self, levels: Level, schedule: Schedule | None) -> DPMCoefficients:
        """Compute the coefficients of all steps; the first step and steps from pure noise or to the data are of first order."""
        xp = array_module(levels)
        level, next_level = step_ends(levels)
        with np.errstate(divide='ignore', invalid='ignore'):
            log_snr, next_log_snr = xp.log(level.alpha / level.sigma), xp.log(next_level.alpha / next_level.sigma)
            h = next_log_snr - log_snr  # infinite at pure noise and at the data
            previous_h = xp.concatenate([xp.full(1, xp.inf), h[:-1]])
            half_ratio = xp.where(xp.isfinite(h) & xp.isfinite(previous_h), 0.5 * h / previous_h, 0.0)
            exp_minus_h = xp.exp(-h)
        exp_minus_h = xp.where(level.alpha > 0, exp_minus_h, 0.0)
        coef_xt = next_level.sigma / level.sigma
        if not self.sde:
            coef_d = next_level.alpha - coef_xt * level.alpha  # alpha_next (1 - e^-h)
            return DPMCoefficients(coef_d, coef_xt, xp.zeros_like(coef_xt), half_ratio)
        coef_d = next_level.alpha * (1 - exp_minus_h**2)
        std = next_level.sigma * xp.sqrt(1 - exp_minus_h**2)
        return DPMCoefficients(coef_d, coef_xt * exp_minus_h, std, half_ratio)

    def step(self, denoiser: Denoiser, carry: Carry, step: Step, noise: Noise) -> Carry:
        """Take one step (lines 7 to 9)."""
        c = step.coefficients
        x0 = denoiser(carry.x, step.level)
        # Lines 7 and 8, and line 4 where half_ratio is 0
        d = x0 + c.half_ratio * (x0 - carry.previous_x0)
        # Line 9
        x = c.coef_d * d + c.coef_xt * carry.x
        return Carry(x + c.std * noise(step.number) if self.sde else x, x0)


def dpmpp_2m(denoiser: Denoiser, levels: Level, x: Float[Array, 'n ...']) -> Float[Array, 'n ...']:
    """Sample images by DPM-Solver++(2M).

    Args:
      denoiser: ``denoiser(x, level)`` is the estimate of x_0, at a scalar level.
      levels: the noise levels to visit, from noise to data, as ``schedule.levels(num_steps)`` returns them.
      x: the noise to start from, as ``initial_noise(levels, normal)`` returns it.

    Returns:
      The images, in the shape of ``x``.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import diffusion
      >>> levels, start = diffusion.cosine(1000).levels(4), jnp.ones((1, 2))
      >>> def denoiser(x, level):  # always estimates the same image
      ...     return jnp.full_like(x, 0.5)
      >>> diffusion.samplers.dpmpp_2m(denoiser, levels, start)
      Array([[0.5, 0.5]], dtype=float32)
    """
    return DPMpp2M().sample(denoiser, levels, x)


def dpmpp_2m_sde(
    denoiser: Denoiser,
    levels: Level,
    x: Float[Array, 'n ...'],
    *,
    key: Array | None = None,
    noise: Noise | None = None,
) -> Float[Array, 'n ...']:
    """Sample images by SDE-DPM-Solver++(2M).

    Args:
      denoiser: ``denoiser(x, level)`` is the estimate of x_0, at a scalar level.
      levels: the noise levels to visit, from noise to data, as ``schedule.levels(num_steps)`` returns them.
      x: the noise to start from, as ``initial_noise(levels, normal)`` returns it.
      key: random key of the noise that the steps add.
      noise: the noise itself, instead of ``key``: ``noise(i)`` is the standard normal noise of step i.

    Returns:
      The images, in the shape of ``x``.

    Raises:
      ValueError: if the sampler adds noise and neither ``key`` nor ``noise`` is given.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from jaxgen import diffusion
      >>> levels, start = diffusion.cosine(1000).levels(4), jnp.ones((1, 2))
      >>> def denoiser(x, level):  # always estimates the same image
      ...     return jnp.full_like(x, 0.5)
      >>> diffusion.samplers.dpmpp_2m_sde(denoiser, levels, start, key=jax.random.key(0))
      Array([[0.5, 0.5]], dtype=float32)
    """
    return DPMpp2M(sde=True).sample(denoiser, levels, x, key=key, noise=noise)
