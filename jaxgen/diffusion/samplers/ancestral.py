"""Ancestral sampling: the sampler of DDPM, on all timesteps or on some of them.

Ho et al. 2020 (Denoising Diffusion Probabilistic Models), algorithm 2; respaced as in Nichol & Dhariwal 2021.

    symbol in the paper                         variable
    x_t                                         carry.x
    x_0 estimated from x_t, equation 15         x0
    z                                           noise(i)
    factors of x_0 and x_t, equation 7          coef_x0, coef_xt
    beta~_t, variance of the posterior          posterior_variance
    beta_t                                      forward_variance
    sigma_t                                     std
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Float

from jaxgen.diffusion.levels import Level, Schedule
from jaxgen.diffusion.posterior import interpolated_variance, posterior_coefficients
from jaxgen.diffusion.samplers.base import Carry, Denoiser, Noise, Sampler, Step, array_module, step_ends
from jaxgen.types import Array


class AncestralCoefficients(NamedTuple):
    """The coefficients of the posterior of each step; ``adds_noise`` is 1, but 0 in the last step."""

    coef_x0: Array
    coef_xt: Array
    posterior_variance: Array
    forward_variance: Array
    adds_noise: Array


@dataclasses.dataclass(frozen=True)
class Ancestral(Sampler):
    """Ancestral sampling.

    Attributes:
      variance: variance of each step: 'fixedlarge' (beta_t), 'fixedsmall' (beta~_t), or 'learned', where the denoiser returns
        a ``Prediction`` whose fraction interpolates between the two.

    Example:
      >>> from jaxgen import diffusion
      >>> diffusion.samplers.Ancestral(variance='learned').needs_variance
      True
    """

    variance: str = 'fixedlarge'

    @property
    def stochastic(self) -> bool:
        """Whether the steps add noise: all but the last do."""
        return True

    @property
    def needs_variance(self) -> bool:
        """Whether the denoiser must also return a variance fraction."""
        return self.variance == 'learned'

    def coefficients(self, levels: Level, schedule: Schedule | None) -> AncestralCoefficients:
        """Compute the posterior q(x_{t-1} | x_t, x_0) of each step."""
        xp = array_module(levels)
        posterior = posterior_coefficients(*step_ends(levels))
        last = xp.arange(len(levels.t) - 1) == len(levels.t) - 2
        # The variance of the posterior is 0 at the data, and has no logarithm. The last step adds no noise, so any positive
        # number may replace it.
        posterior_variance = xp.where(last, posterior.forward_variance, posterior.posterior_variance)
        return AncestralCoefficients(
            posterior.coef_x0, posterior.coef_xt, posterior_variance, posterior.forward_variance, ~last
        )

    def step(self, denoiser: Denoiser, carry: Carry, step: Step, noise: Noise) -> Carry:
        """Sample x_{t-1} (lines 3 and 4 of algorithm 2)."""
        c, x = step.coefficients, carry.x
        if self.variance == 'learned':
            x0, fraction = denoiser(x, step.level)
            std = jnp.sqrt(interpolated_variance(fraction, c.posterior_variance, c.forward_variance))
        else:
            x0 = denoiser(x, step.level)
            std = jnp.sqrt({'fixedlarge': c.forward_variance, 'fixedsmall': c.posterior_variance}[self.variance])
        # Line 4: the mean of the posterior plus noise, which line 3 sets to 0 in the last step.
        return Carry(c.coef_x0 * x0 + c.coef_xt * x + c.adds_noise * std * noise(step.number))


def ancestral(
    denoiser: Denoiser,
    levels: Level,
    x: Float[Array, 'n ...'],
    *,
    variance: str = 'fixedlarge',
    key: Array | None = None,
    noise: Noise | None = None,
) -> Float[Array, 'n ...']:
    """Sample images by ancestral sampling, see ``Ancestral``.

    Args:
      denoiser: ``denoiser(x, level)`` is the estimate of x_0, at a scalar level.
      levels: the noise levels to visit, from noise to data, as ``schedule.levels(num_steps)`` returns them.
      x: the noise to start from, as ``initial_noise(levels, normal)`` returns it.
      variance: ``fixedlarge``, ``fixedsmall`` or ``learned``.
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
      >>> levels, start = diffusion.linear(1000).levels(4), jnp.ones((1, 2))
      >>> def denoiser(x, level):  # always estimates the same image
      ...     return jnp.full_like(x, 0.5)
      >>> diffusion.samplers.ancestral(denoiser, levels, start, key=jax.random.key(0))
      Array([[0.5, 0.5]], dtype=float32)
    """
    return Ancestral(variance).sample(denoiser, levels, x, key=key, noise=noise)
