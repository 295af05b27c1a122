"""DDIM: deterministic steps, or steps with a part of the noise of ancestral sampling.

Song et al. 2021 (Denoising Diffusion Implicit Models), equation 12. For a flow with eta = 0 it is Euler's method.

    symbol in the paper                         variable
    x_t                                         carry.x
    "predicted x_0"                             x0
    sqrt(alpha_t), sqrt(1 - alpha_t)            level.alpha, level.sigma
    sigma_t                                     std
    epsilon_t                                   noise(i)
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

from jaxtyping import Float

from jaxgen.diffusion.levels import Level, Schedule
from jaxgen.diffusion.posterior import posterior_coefficients
from jaxgen.diffusion.samplers.base import Carry, Denoiser, Noise, Sampler, Step, array_module, step_ends
from jaxgen.types import Array


class DDIMCoefficients(NamedTuple):
    """x_next = coef_x0 x_0 + coef_xt x_t + std noise."""

    coef_x0: Array
    coef_xt: Array
    std: Array


@dataclasses.dataclass(frozen=True)
class DDIM(Sampler):
    """The DDIM sampler.

    Attributes:
      eta: share of the posterior's standard deviation that each step adds as noise: 0 is deterministic.

    Example:
      >>> from jaxgen import diffusion
      >>> diffusion.samplers.DDIM().stochastic, diffusion.samplers.DDIM(eta=1.0).stochastic
      (False, True)
    """

    options: ClassVar[tuple[str, ...]] = ('eta',)

    eta: float = 0.0

    @property
    def stochastic(self) -> bool:
        """Whether the steps add noise."""
        return self.eta > 0

    def coefficients(self, levels: Level, schedule: Schedule | None) -> DDIMCoefficients:
        """Insert eps = (x_t - alpha x_0) / sigma into equation 12, so that a clipped x_0 and its noise still add up to x_t."""
        xp = array_module(levels)
        level, next_level = step_ends(levels)
        std = self.eta * xp.sqrt(posterior_coefficients(level, next_level).posterior_variance)
        coef_xt = xp.sqrt(next_level.sigma**2 - std**2) / level.sigma
        coef_x0 = next_level.alpha - coef_xt * level.alpha
        return DDIMCoefficients(coef_x0, coef_xt, std)

    def step(self, denoiser: Denoiser, carry: Carry, step: Step, noise: Noise) -> Carry:
        """Take one step of equation 12."""
        c = step.coefficients
        # "predicted x_0" and "direction pointing to x_t" of equation 12
        x = c.coef_x0 * denoiser(carry.x, step.level) + c.coef_xt * carry.x
        # "random noise" of equation 12
        return Carry(x + c.std * noise(step.number) if self.stochastic else x)


def ddim(
    denoiser: Denoiser,
    levels: Level,
    x: Float[Array, 'n ...'],
    *,
    eta: float = 0.0,
    key: Array | None = None,
    noise: Noise | None = None,
) -> Float[Array, 'n ...']:
    """Sample images by DDIM.

    Args:
      denoiser: ``denoiser(x, level)`` is the estimate of x_0, at a scalar level.
      levels: the noise levels to visit, from noise to data, as ``schedule.levels(num_steps)`` returns them.
      x: the noise to start from, as ``initial_noise(levels, normal)`` returns it.
      eta: share of the posterior's standard deviation that each step adds as noise: 0 is deterministic.
      key: random key of the noise that the steps add.
      noise: the noise itself, instead of ``key``: ``noise(i)`` is the standard normal noise of step i.

    Returns:
      The images, in the shape of ``x``.

    Raises:
      ValueError: if the sampler adds noise and neither ``key`` nor ``noise`` is given.

    Example:
      A denoiser that always estimates the same image leads to that image:

      >>> import jax.numpy as jnp
      >>> from jaxgen.diffusion import cosine
      >>> levels = cosine(1000).levels(4)
      >>> ddim(lambda x, level: jnp.full_like(x, 0.5), levels, jnp.ones((1, 2)))
      Array([[0.5, 0.5]], dtype=float32)
    """
    return DDIM(eta).sample(denoiser, levels, x, key=key, noise=noise)
