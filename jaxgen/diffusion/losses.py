"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgen.diffusion.predictions import PARAMETERISATIONS
from jaxgen.diffusion.schedules import Learned, Level

Array = jax.Array
Network = Callable[[Array, Array], Array]  # F(x, t), see parameterisations


def mean_of_each(x: Array) -> Array:
    """Over all but the first axis: ``[N, ...] -> [N]``."""
    return jnp.mean(x, axis=tuple(range(1, x.ndim)))


def add_noise(x0: Array, noise: Array, level: Level) -> Array:
    """x = alpha x_0 + sigma noise; ``[N, ...]`` at levels ``[N]``."""
    here = level.like(x0)
    return here.alpha * x0 + here.sigma * noise


def simple(alpha: Array, sigma: Array, output: Array) -> Array:
    """1: for eps equation 14 of Ho et al. 2020, for edm the lambda(sigma) of Karras et al. 2022."""
    return jnp.ones_like(sigma)


def min_snr(alpha: Array, sigma: Array, output: Array, gamma: float = 5.0) -> Array:
    """min(SNR, 5) on the error of x_0, which is that of F times ``output`` (Hang et al. 2023)."""
    return jnp.minimum((alpha / sigma) ** 2, gamma) * output**2


# Weights on the squared error of F at levels (alpha, sigma). The exact bound, elbo, is another sum: likelihood.py.
WEIGHTINGS: dict[str, Callable[[Array, Array, Array], Array]] = {'simple': simple, 'min_snr': min_snr}


def prediction_loss(
    parameterisation: str, weighting: str, network: Network, x0: Array, noise: Array, level: Level
) -> Array:
    """The weighted squared error of F, averaged over each example's pixels: ``[N]``; x0, noise ``[N, ...]``, level ``[N]``."""
    precondition = PARAMETERISATIONS[parameterisation]
    here = level.like(x0)
    p = precondition(here.alpha, here.sigma)
    error = network(p.input * add_noise(x0, noise, level), here.t) - (p.of_x0 * x0 + p.of_noise * noise)
    weight = WEIGHTINGS[weighting](level.alpha, level.sigma, precondition(level.alpha, level.sigma).output)
    return weight * mean_of_each(jnp.square(error))


def draw_mean_flow_times(key: Array, num: int, equal: float = 0.75) -> tuple[Array, Array]:
    """(t, r) ``[num]`` each, r <= t: the larger and the smaller of two logistic normal times (mean -0.4, deviation 1), made
    equal with probability ``equal`` (Geng et al. 2025, section 4.3 and table 1).
    """
    times_key, equal_key = jax.random.split(key)
    times = jax.nn.sigmoid(jax.random.normal(times_key, (2, num)) - 0.4)
    t = jnp.max(times, axis=0)
    return t, jnp.where(jax.random.bernoulli(equal_key, equal, (num,)), t, jnp.min(times, axis=0))


def mean_flow_loss(
    network: Callable[[Array, Array, Array], Array], x0: Array, noise: Array, start: Array, end: Array
) -> Array:
    """MeanFlow (Geng et al. 2025, algorithm 1): ``network(x, t, r)`` is the mean velocity from time t back to r <= t.

    It satisfies u = v - (t - r) du/dt, the derivative along the way from image to noise; the right side is the target,
    and the squared error is divided by itself plus 1e-3, constants both, as in the paper.

    Args:
      start: t ``[N]``, in [0, 1].
      end: r ``[N]``; where it equals t, this is the loss of ``flow``.
    """
    wide = start.reshape(start.shape + (1,) * (x0.ndim - 1))
    gap = (start - end).reshape(wide.shape)
    velocity = noise - x0
    x = (1 - wide) * x0 + wide * noise
    mean, slope = jax.jvp(network, (x, start, end), (velocity, jnp.ones_like(start), jnp.zeros_like(end)))
    error = mean_of_each(jnp.square(mean - jax.lax.stop_gradient(velocity - gap * slope)))
    return error / jax.lax.stop_gradient(error + 1e-3)


def schedule_variance_loss(schedule: Learned, times: Array, error: Array) -> Array:
    """A scalar whose gradient lets the way between a learned schedule's ends lessen the variance of its diffusion loss.

    The loss at a time u is gamma'(u) m(gamma(u)) / 2 with m the squared error in the noise. Its mean does not depend on
    the way (Kingma et al. 2021, section 5.1), its mean square is J = integral of m(gamma)^2 gamma'(u(gamma)) dgamma / 4,
    and dJ = E_u[m^2 gamma' (d gamma' - gamma'' / gamma' d gamma)] / 4, which takes no derivative of the network.

    Args:
      times: u ``[N]``.
      error: m ``[N]``, a constant here.
    """

    def slope(u):
        return jax.jvp(schedule.gamma, (u,), (jnp.ones_like(u),))

    (gamma, first), (_, second) = jax.jvp(slope, (times,), (jnp.ones_like(times),))
    fixed = jax.lax.stop_gradient
    return jnp.mean(fixed(jnp.square(error) * first) * (first - fixed(second / first) * gamma)) / 4
