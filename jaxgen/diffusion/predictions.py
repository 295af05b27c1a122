"""What a network predicts, and how an estimate of x_0 is made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.diffusion.schedules import Level

Array = jax.Array


class Preconditioning(NamedTuple):
    """x_0 = ``skip`` x + ``output`` F(``input`` x): arrays that broadcast against x. What F learns is
    ``of_x0`` x_0 + ``of_noise`` noise, of which this is the solution for x_0 at x = alpha x_0 + sigma noise.
    """

    input: Array | float
    skip: Array | float
    output: Array | float
    of_x0: Array | float
    of_noise: Array | float


def eps(alpha: Array, sigma: Array) -> Preconditioning:
    """F is the noise: x_0 = (x - sigma F) / alpha (Ho et al. 2020, equation 15)."""
    return Preconditioning(1.0, 1 / alpha, -sigma / alpha, 0.0, 1.0)


def x0(alpha: Array, sigma: Array) -> Preconditioning:
    """F is the image: x_0 = F (Salimans & Ho 2022, section 4)."""
    return Preconditioning(1.0, 0.0, 1.0, 1.0, 0.0)


def v(alpha: Array, sigma: Array) -> Preconditioning:
    """F is v = alpha noise - sigma x_0 (Salimans & Ho 2022), where alpha^2 + sigma^2 = 1."""
    return Preconditioning(1.0, alpha, -sigma, -sigma, alpha)


def flow(alpha: Array, sigma: Array) -> Preconditioning:
    """F is the velocity noise - x_0 (Liu et al. 2023), where alpha + sigma = 1."""
    return Preconditioning(1.0, 1.0, -sigma, -1.0, 1.0)


def edm(alpha: Array, sigma: Array, sigma_data: float = 0.5) -> Preconditioning:
    """F sees and learns what has unit variance: for y = x / alpha and s = sigma / alpha, x_0 = c_skip y + c_out F(c_in y),
    c_in = 1 / sqrt(s^2 + sigma_data^2), c_skip = (sigma_data c_in)^2, c_out = s sigma_data c_in (Karras et al. 2022, table 1).
    """
    squares = sigma**2 + alpha**2 * sigma_data**2
    root = jnp.sqrt(squares)
    return Preconditioning(
        1 / root,
        alpha * sigma_data**2 / squares,
        sigma * sigma_data / root,
        sigma / (sigma_data * root),
        -alpha * sigma_data / root,
    )


PARAMETERISATIONS: dict[str, Callable[[Array, Array], Preconditioning]] = {
    'eps': eps,
    'x0': x0,
    'v': v,
    'edm': edm,
    'flow': flow,
}


def estimate(parameterisation: str, network: Callable[[Array, Array], Array], x: Array, level: Level) -> Array:
    """The network's x_0 from ``x`` ``[N, ...]`` at ``level`` (``[N]`` or scalar), F(x, t) being ``network``."""
    here = level.like(x)
    p = PARAMETERISATIONS[parameterisation](here.alpha, here.sigma)
    return p.skip * x + p.output * network(p.input * x, here.t)
