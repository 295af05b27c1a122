"""MeanFlow sampling: one network call a step, however long the step is.

Geng et al. 2025 (Mean Flows for One-step Generative Modeling), equation 12. The function ``jump`` takes the place of a
denoiser.

    symbol in the paper                         variable
    z_t, z_r                                    carry.x before and after the step
    t, r                                        level.sigma, next_level.sigma
    z_t - (t - r) u_theta(z_t, r, t)            jump(x, level, next_level)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from jaxtyping import Float

from jaxgen.diffusion.levels import Level, Schedule
from jaxgen.diffusion.samplers.base import Carry, Noise, Sampler, Step, step_ends
from jaxgen.types import Array

Jump = Callable[[Array, Level, Level], Array]  # jump(x, level, next_level): x at the next level


@dataclasses.dataclass(frozen=True)
class MeanFlow(Sampler):
    """The sampler of MeanFlow.

    Example:
      >>> from jaxgen import diffusion
      >>> diffusion.samplers.MeanFlow().network_calls(diffusion.FlowSchedule().levels(1))
      1
    """

    def coefficients(self, levels: Level, schedule: Schedule | None) -> Level:
        """Return the levels at which the steps end."""
        return step_ends(levels)[1]

    def step(self, denoiser: Jump, carry: Carry, step: Step, noise: Noise) -> Carry:
        """Take one step (equation 12)."""
        return Carry(denoiser(carry.x, step.level, step.coefficients))


def mean_flow(jump: Jump, levels: Level, x: Float[Array, 'n ...']) -> Float[Array, 'n ...']:
    """Sample images by MeanFlow.

    Args:
      jump: ``jump(x, level, next_level)`` is x at the next level, for scalar levels.
      levels: the noise levels to visit, from noise to data, as ``schedule.levels(num_steps)`` returns them.
      x: the noise to start from, as ``initial_noise(levels, normal)`` returns it.

    Returns:
      The images, in the shape of ``x``.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import diffusion
      >>> levels, start = diffusion.FlowSchedule().levels(1), jnp.ones((1, 2))
      >>> def jump(x, level, next_level):  # along the straight line to an image of 0.5
      ...     velocity = (x - 0.5) / level.sigma
      ...     return x + (next_level.sigma - level.sigma) * velocity
      >>> diffusion.samplers.mean_flow(jump, levels, start)
      Array([[0.5, 0.5]], dtype=float32)
    """
    return MeanFlow().sample(jump, levels, x)
