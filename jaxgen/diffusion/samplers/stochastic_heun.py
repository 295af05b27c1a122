"""Heun's method with noise: the stochastic sampler of EDM.

Karras et al. 2022 (Elucidating the Design Space of Diffusion-Based Generative Models), algorithm 2. Each step first adds noise,
up to the time t^_i, and then takes a step of Heun's method from there; see ``heun`` for the processes with alpha below 1.

    symbol in the paper                         variable
    x_i, t_i                                    carry.x, t
    gamma_i                                     gamma
    epsilon_i                                   noise(i)
    x^_i, t^_i                                  x_hat, t_hat
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxgen.diffusion.levels import Level, Schedule
from jaxgen.diffusion.samplers.base import Carry, Denoiser, Noise, Step, step_ends
from jaxgen.diffusion.samplers.heun import Heun, HeunCoefficients, heun_coefficients, heun_step
from jaxgen.types import Array, PyTree


class ChurnCoefficients(NamedTuple):
    """The coefficients of x_hat = hat_x x + hat_noise noise, and of the step of Heun's method from there."""

    hat_x: Array | np.ndarray
    hat_noise: Array | np.ndarray
    heun: HeunCoefficients


@dataclasses.dataclass(frozen=True)
class StochasticHeun(Heun):
    """The sampler of algorithm 2, with S_min = 0, S_max infinite and S_noise = 1.

    Attributes:
      churn: S_churn of the paper, the amount of noise added over all steps; 0 gives algorithm 1.

    Example:
      >>> from jaxgen import diffusion
      >>> diffusion.samplers.StochasticHeun(churn=40.0).stochastic
      True
    """

    options: ClassVar[tuple[str, ...]] = ('churn',)

    churn: float = 0.0

    @property
    def stochastic(self) -> bool:
        """Whether the steps add noise."""
        return self.churn > 0

    def coefficients(self, levels: Level, schedule: Schedule | None) -> PyTree:
        """Return the coefficients of steps that begin at levels with more noise."""
        if not self.stochastic:
            return super().coefficients(levels, schedule)
        if schedule is None:
            raise ValueError('churn needs schedule, because noise is added up to levels between the visited ones')
        level, _ = step_ends(levels)
        hat = churned_levels(schedule, levels, self.churn)
        has_signal = level.alpha > 0
        t, t_hat = level.sigma / _or_1(level.alpha), hat.sigma / _or_1(hat.alpha)
        added = hat.alpha * np.sqrt(np.maximum(t_hat**2 - t**2, 0.0))
        return ChurnCoefficients(
            hat_x=np.where(has_signal, hat.alpha / _or_1(level.alpha), 1.0),
            hat_noise=np.where(has_signal, added, 0.0),
            heun=heun_coefficients(levels, hat),
        )

    def step(self, denoiser: Denoiser, carry: Carry, step: Step, noise: Noise) -> Carry:
        """Add noise, then take one step of Heun's method (lines 4 to 11)."""
        if not self.stochastic:
            return super().step(denoiser, carry, step, noise)
        c = step.coefficients
        # Lines 4 to 6: add noise up to t_hat.
        x_hat = c.hat_x * carry.x + c.hat_noise * noise(step.number)
        return Carry(heun_step(denoiser, x_hat, c.heun))


def stochastic_heun(
    denoiser: Denoiser,
    levels: Level,
    x: Float[Array, 'n ...'],
    *,
    schedule: Schedule,
    churn: float,
    key: Array | None = None,
    noise: Noise | None = None,
) -> Float[Array, 'n ...']:
    """Sample images by Heun's method with noise (algorithm 2).

    Args:
      denoiser: ``denoiser(x, level)`` is the estimate of x_0, at a scalar level.
      levels: the noise levels to visit, from noise to data, as ``schedule.levels(num_steps)`` returns them.
      x: the noise to start from, as ``initial_noise(levels, normal)`` returns it.
      schedule: the schedule of the levels.
      churn: S_churn of the paper, the amount of noise added over all steps; 0 gives algorithm 1.
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
      >>> schedule, key = diffusion.EDMSchedule(), jax.random.key(0)
      >>> levels, start = schedule.levels(4), schedule.sigma_max * jnp.ones((1, 2))
      >>> def denoiser(x, level):  # always estimates the same image
      ...     return jnp.full_like(x, 0.5)
      >>> diffusion.samplers.stochastic_heun(denoiser, levels, start, schedule=schedule, churn=1.0, key=key).round(3)
      Array([[0.5, 0.5]], dtype=float32)
    """
    return StochasticHeun(churn).sample(denoiser, levels, x, key=key, noise=noise, schedule=schedule)


def churned_levels(schedule: Schedule, levels: Level, churn: float) -> Level:
    """Return the levels with more noise from which the steps of algorithm 2 begin, ``[S]``.

    t_hat = t (1 + gamma), gamma = min(S_churn / N, sqrt(2) - 1); pure noise stays as it is.
    """
    level, _ = step_ends(levels)
    has_signal = level.alpha > 0
    t = level.sigma / _or_1(level.alpha)
    gamma = min(churn / len(t), np.sqrt(2) - 1)
    hat = schedule.at(np.where(has_signal, t * (1 + gamma), 1.0))
    return Level(*(np.where(has_signal, more, same) for more, same in zip(hat, level, strict=True)))


def _or_1(alpha: np.ndarray) -> np.ndarray:
    """Replace zeros in a divisor by 1; the quotient is not used there."""
    return np.where(alpha > 0, alpha, 1.0)
