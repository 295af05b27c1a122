"""Heun's second-order method for the probability-flow equation: the deterministic sampler of EDM.

Karras et al. 2022 (Elucidating the Design Space of Diffusion-Based Generative Models), algorithm 1. The paper has alpha = 1;
other processes are sampled as y = x / alpha at time t = sigma / alpha, where the equation is the same. The variables are named
x_hat and t_hat because a step of algorithm 2, which shares this code, begins at x^_i and t^_i instead of x_i and t_i.

    symbol in the paper                         variable
    x_i (x^_i), t_i (t^_i)                      x_hat, t_hat
    D_theta(x_i; t_i)                           x0
    d_i, d'_i                                   d_cur, d_prime
    x_{i+1}, t_{i+1}                            x_next, t_next
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import jax
from jaxtyping import Float

from jaxgen.diffusion.levels import Level, Schedule
from jaxgen.diffusion.samplers.base import Carry, Denoiser, Noise, Sampler, Step, step_ends
from jaxgen.types import Array, PyTree


class HeunCoefficients(NamedTuple):
    """The levels of a step, Euler's step x_next = euler_x0 x_0 + euler_x x_hat, and whether a correction follows it."""

    hat: Level
    next: Level
    euler_x0: Array
    euler_x: Array
    corrected: Array


@dataclasses.dataclass(frozen=True)
class Heun(Sampler):
    """The sampler by Heun's method (algorithm 1). A step to the data, or from pure noise (alpha = 0), is a plain Euler step.

    Example:
      >>> from jaxgen import diffusion
      >>> diffusion.samplers.Heun().network_calls(diffusion.EDMSchedule().levels(18))  # 35, as in the paper
      35
    """

    order: ClassVar[int] = 2

    def network_calls(self, levels: Level) -> int:
        """Return the number of steps plus the number of corrections."""
        return len(levels.t) - 1 + int(is_corrected(levels).sum())

    def coefficients(self, levels: Level, schedule: Schedule | None) -> PyTree:
        """Return the coefficients of steps that begin at the levels themselves."""
        return heun_coefficients(levels, step_ends(levels)[0])

    def step(self, denoiser: Denoiser, carry: Carry, step: Step, noise: Noise) -> Carry:
        """Take one step (lines 4 to 8)."""
        return Carry(heun_step(denoiser, carry.x, step.coefficients))


def heun_step(denoiser: Denoiser, x_hat: Array, c: HeunCoefficients) -> Array:
    """Take one step of Heun's method (lines 4 to 8 of algorithm 1, lines 7 to 11 of algorithm 2)."""
    # Lines 4 and 5: Euler's step, with the definition of d_cur inserted.
    x0 = denoiser(x_hat, c.hat)
    x_next = c.euler_x0 * x0 + c.euler_x * x_hat

    def correct(x_next: Array) -> Array:
        # Lines 7 and 8: the mean of the slopes at both ends.
        t_hat, t_next = c.hat.sigma / c.hat.alpha, c.next.sigma / c.next.alpha
        d_cur = (x_hat / c.hat.alpha - x0) / t_hat
        d_prime = (x_next / c.next.alpha - denoiser(x_next, c.next)) / t_next
        return c.next.alpha * (x_hat / c.hat.alpha + (t_next - t_hat) * 0.5 * (d_cur + d_prime))

    # Line 6: a step to the data is not corrected.
    return jax.lax.cond(c.corrected > 0, correct, lambda x_next: x_next, x_next)


def heun_coefficients(levels: Level, hat: Level) -> HeunCoefficients:
    """Return the coefficients of the steps from the levels ``hat`` ``[S]``, each to the next of the levels ``[S + 1]``."""
    _, next_level = step_ends(levels)
    euler_x = next_level.sigma / hat.sigma
    euler_x0 = next_level.alpha - euler_x * hat.alpha
    return HeunCoefficients(hat, next_level, euler_x0, euler_x, is_corrected(levels))


def is_corrected(levels: Level) -> Array:
    """Return which steps have a slope at both ends: bool ``[S]``."""
    level, next_level = step_ends(levels)
    return (level.alpha > 0) & (next_level.sigma > 0)


def heun(denoiser: Denoiser, levels: Level, x: Float[Array, 'n ...']) -> Float[Array, 'n ...']:
    """Sample images by Heun's method.

    Args:
      denoiser: ``denoiser(x, level)`` is the estimate of x_0, at a scalar level.
      levels: the noise levels to visit, from noise to data, as ``schedule.levels(num_steps)`` returns them.
      x: the noise to start from, as ``initial_noise(levels, normal)`` returns it.

    Returns:
      The images, in the shape of ``x``.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import diffusion
      >>> levels, start = diffusion.EDMSchedule().levels(4), jnp.ones((1, 2))
      >>> def denoiser(x, level):  # always estimates the same image
      ...     return jnp.full_like(x, 0.5)
      >>> diffusion.samplers.heun(denoiser, levels, levels.sigma[0] * start).round(3)
      Array([[0.5, 0.5]], dtype=float32)
    """
    return Heun().sample(denoiser, levels, x)
