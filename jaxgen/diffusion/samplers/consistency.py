"""Consistency sampling: each network call jumps from a noise level to an image.

Song et al. 2023 (Consistency Models), algorithm 1: between two calls, noise is added to the image up to a lower level. In place
of an estimate of x_0, the denoiser returns the consistency function f, the end of the trajectory from x to the data.

    symbol in the paper                         variable
    x_T, tau_n                                  carry.x and step.level of the first step, step.level of the others
    f_theta(x, tau_n)                           denoiser(x, step.level)
    z                                           noise(i)
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from jaxgen.diffusion.levels import Level, Schedule
from jaxgen.diffusion.samplers.base import Carry, Denoiser, Noise, Sampler, Step, step_ends
from jaxgen.types import Array

LAST_SIGMA = 0.821  # noise level of the second of two calls (Geng et al. 2024, Consistency Models Made Easy, CIFAR-10)


@dataclasses.dataclass(frozen=True)
class Consistency(Sampler):
    """The sampler of consistency models.

    Example:
      >>> from jaxgen import diffusion
      >>> sampler, schedule = diffusion.samplers.Consistency(), diffusion.EDMSchedule()
      >>> sampler.levels(schedule, 2).sigma.round(3).tolist()
      [80.0, 0.821, 0.0]
    """

    @property
    def stochastic(self) -> bool:
        """Whether the steps add noise: all but the last do, which ends at the data."""
        return True

    def levels(self, schedule: Schedule, num_steps: int) -> Level:
        """Return the noisiest level of the schedule, geometrically spaced ones down to ``LAST_SIGMA``, and the data."""
        ends = schedule.levels(1)
        if num_steps == 1:
            return ends
        between = schedule.at(np.geomspace(ends.sigma[0], LAST_SIGMA, num_steps)[1:])
        return Level(*(np.concatenate([a[:1], b, a[1:]]) for a, b in zip(ends, between, strict=True)))

    def coefficients(self, levels: Level, schedule: Schedule | None) -> Level:
        """Return the levels at which the steps end."""
        return step_ends(levels)[1]

    def step(self, denoiser: Denoiser, carry: Carry, step: Step, noise: Noise) -> Carry:
        """Jump to the data, and add noise up to the next level."""
        end = step.coefficients
        return Carry(end.alpha * denoiser(carry.x, step.level) + end.sigma * noise(step.number))


def consistency(function: Denoiser, levels: Level, x: Float[Array, 'n ...'], *, key: Array) -> Float[Array, 'n ...']:
    """Sample images with a consistency function.

    Args:
      function: ``function(x, level)`` is the image at the end of the trajectory from ``x``, for a scalar level.
      levels: the noise levels to visit, from noise to data, as ``Consistency().levels(schedule, num_steps)`` returns them.
      x: the noise to start from, as ``initial_noise(levels, normal)`` returns it.
      key: random key of the noise between two calls.

    Returns:
      The images, in the shape of ``x``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxgen import diffusion
      >>> levels = diffusion.samplers.Consistency().levels(diffusion.EDMSchedule(), 2)
      >>> def function(x, level):  # exact if the images are standard normal numbers
      ...     return x / jnp.sqrt(1 + level.sigma**2)
      >>> diffusion.samplers.consistency(function, levels, 80 * jnp.ones((1, 2)), key=jax.random.key(0)).shape
      (1, 2)
    """
    return Consistency().sample(function, levels, x, key=key)
