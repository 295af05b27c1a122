"""The losses that training minimises, one number for each example; the variational bound is in ``likelihood``."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.predictions import PREDICTIONS, Network
from jaxgen.diffusion.schedules import LearnedSchedule
from jaxgen.types import Array

MEAN_FLOW_C = 1e-3  # the constant c in the adaptive weight of MeanFlow


def mean_of_each(x: Float[Array, 'n ...']) -> Float[Array, ' n']:
    """Return the mean over all axes but the first."""
    return jnp.mean(x, axis=tuple(range(1, x.ndim)))


def add_noise(x0: Float[Array, 'n ...'], noise: Float[Array, 'n ...'], level: Level) -> Float[Array, 'n ...']:
    """Return x = alpha x_0 + sigma noise at ``level``, whose arrays are scalars or ``[N]``."""
    here = level.broadcast_to(x0)
    return here.alpha * x0 + here.sigma * noise


def simple(alpha: Array, sigma: Array, c_out: Array | float) -> Array:
    """Return 1, which is equation 14 of Ho et al. 2020 for eps, and the lambda(sigma) of Karras et al. 2022 for edm."""
    return jnp.ones_like(sigma)


def min_snr(alpha: Array, sigma: Array, c_out: Array | float, gamma: float = 5.0) -> Array:
    """Return the weight min(SNR, gamma) on the error of x_0 as a weight on the error of F (Hang et al. 2023).

    The squared error of x_0 is the squared error of F times ``c_out`` squared.
    """
    return jnp.minimum((alpha / sigma) ** 2, gamma) * c_out**2


# Functions of (alpha, sigma, c_out) that return the weight on the squared error of F. The weighting elbo is not among them: it
# is the bound in likelihood.py.
WEIGHTINGS: dict[str, Callable[[Array, Array, Array | float], Array]] = {'simple': simple, 'min_snr': min_snr}


def prediction_loss(
    network: Network,
    x0: Float[Array, 'n ...'],
    noise: Float[Array, 'n ...'],
    level: Level,
    *,
    prediction: str = 'eps',
    weighting: str = 'simple',
) -> Float[Array, ' n']:
    """Return the weighted squared error of a network's prediction, averaged over the pixels of each example.

    Args:
      network: F(x, t).
      x0: images.
      noise: standard normal noise in the shape of the images.
      level: noise levels ``[N]``.
      prediction: what the network predicts, one of ``PREDICTIONS``.
      weighting: one of ``WEIGHTINGS``.
    """
    here = level.broadcast_to(x0)
    p = PREDICTIONS[prediction](here.alpha, here.sigma)
    output = network(p.c_in * add_noise(x0, noise, level), here.t)
    error = output - p.target(x0, noise)
    weight = WEIGHTINGS[weighting](level.alpha, level.sigma, PREDICTIONS[prediction](level.alpha, level.sigma).c_out)
    return weight * mean_of_each(jnp.square(error))


def sample_mean_flow_times(
    key: Array, num: int, equal: float = 0.75
) -> tuple[Float[Array, ' num'], Float[Array, ' num']]:
    """Sample the times (t, r) of MeanFlow, r <= t (Geng et al. 2025, section 4.3 and table 1).

    They are the larger and the smaller of two logistic normal times with mean -0.4 and standard deviation 1. With probability
    ``equal``, r is set to t.
    """
    times_key, equal_key = jax.random.split(key)
    times = jax.nn.sigmoid(jax.random.normal(times_key, (2, num)) - 0.4)
    t = jnp.max(times, axis=0)
    return t, jnp.where(jax.random.bernoulli(equal_key, equal, (num,)), t, jnp.min(times, axis=0))


def mean_flow_loss(
    network: Callable[[Array, Array, Array], Array],
    x0: Float[Array, 'n ...'],
    noise: Float[Array, 'n ...'],
    t: Float[Array, ' n'],
    r: Float[Array, ' n'],
) -> Float[Array, ' n']:
    """Return the loss of MeanFlow (Geng et al. 2025, algorithm 1).

    The mean velocity u satisfies u = v - (t - r) du/dt, where the derivative is taken along the line from image to noise. The
    right side is the target. The loss is w ||Delta||^2 with the adaptive weight w = 1 / (||Delta||^2 + c)^p (section 4.3), where
    Delta is the error of all values of an image, ||Delta||^2 the sum of its squares, p = 1 and c = 1e-3. The target and the
    weight are constants for the gradient.

    Args:
      network: ``network(x, t, r)`` is the mean velocity from time t back to r.
      x0: images.
      noise: standard normal noise in the shape of the images.
      t: times in [0, 1].
      r: times in [0, 1], r <= t; where they are equal, this is the loss of ``flow``.
    """
    t_per_image = t.reshape(t.shape + (1,) * (x0.ndim - 1))
    duration = (t - r).reshape(t_per_image.shape)
    velocity = noise - x0
    x = (1 - t_per_image) * x0 + t_per_image * noise
    u, du_dt = jax.jvp(network, (x, t, r), (velocity, jnp.ones_like(t), jnp.zeros_like(r)))
    error = u - jax.lax.stop_gradient(velocity - duration * du_dt)
    squared_norm = jnp.sum(jnp.square(error), axis=tuple(range(1, x0.ndim)))
    return squared_norm / jax.lax.stop_gradient(squared_norm + MEAN_FLOW_C)


def sample_consistency_sigmas(
    key: Array, num: int, stage: Array | int, q: float = 2.0
) -> tuple[Float[Array, ' num'], Float[Array, ' num']]:
    """Sample the noise levels (t, r) of easy consistency tuning, r < t (Geng et al. 2024, Consistency Models Made Easy).

    ln(t) is normal with mean -1.1 and standard deviation 2, and r = max(0, t (1 - n(t) / q^(stage + 1))) with
    n(t) = 1 + 8 sigmoid(-t). From stage to stage r comes closer to t; in the first stage, r = 0 for small t.

    Args:
      key: random key.
      num: number of levels.
      stage: number of the stage, from 0.
      q: factor by which the distance shrinks from stage to stage.

    Returns:
      The two levels of each example.
    """
    t = jnp.exp(-1.1 + 2.0 * jax.random.normal(key, (num,)))
    n = 1 + 8 * jax.nn.sigmoid(-t)
    return t, jnp.maximum(t * (1 - n / jnp.power(q, stage + 1.0)), 0.0)


def consistency_loss(
    function: Callable[[Array, Array], Array],
    x0: Float[Array, 'n ...'],
    noise: Float[Array, 'n ...'],
    t: Float[Array, ' n'],
    r: Float[Array, ' n'],
    sigma_data: float = 0.5,
) -> Float[Array, ' n']:
    """Return the loss of easy consistency tuning (Geng et al. 2024), ``w(t) |f(x_t, t) - f(x_r, r)|``.

    Both noisy images contain the same noise, ``x_t = x_0 + t noise``. f(x_r, r) is a constant for the gradient, and is x_0
    where r is 0. The norm is taken over all values of an image. The weight is 1 / t^2 + 1 / sigma_data^2, as in the authors'
    code since their models of ImageNet; their first weight, for CIFAR-10, was 1 / (t - r).

    Args:
      function: f(x, sigma), the consistency function; ``sigma`` is ``[N]``. Both calls must use the same dropout masks.
      x0: images.
      noise: standard normal noise in the shape of the images.
      t: noise levels.
      r: lower noise levels, or 0.
      sigma_data: standard deviation of the data.
    """

    def per_image(values: Array) -> Array:
        return values.reshape(values.shape + (1,) * (x0.ndim - 1))

    at_t = function(x0 + per_image(t) * noise, t)
    positive = jnp.where(r > 0, r, t)  # the network takes the logarithm of the noise level, which 0 does not have
    at_r = jax.lax.stop_gradient(function(x0 + per_image(positive) * noise, positive))
    at_r = jnp.where(per_image(r > 0), at_r, x0)
    squared = jnp.sum(jnp.square(at_t - at_r), axis=tuple(range(1, x0.ndim)))
    norm = jnp.where(
        squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0
    )  # the square root has no derivative at 0
    return (1 / t**2 + 1 / sigma_data**2) * norm


def schedule_variance_loss(
    schedule: LearnedSchedule, times: Float[Array, ' n'], error: Float[Array, ' n']
) -> Float[Array, '']:
    """Return a scalar whose gradient moves a learned schedule so that its diffusion loss varies less over time.

    The diffusion loss at a time u is gamma'(u) m(gamma(u)) / 2, where m is the squared error in the noise. Its mean does not
    depend on the curve between the ends (Kingma et al. 2021, section 5.1). Its mean square is
    J = integral of m(gamma)^2 gamma'(u(gamma)) dgamma / 4, and dJ = E_u[m^2 gamma' (d gamma' - gamma'' / gamma' d gamma)] / 4
    needs no derivative of the network.

    Args:
      schedule: the schedule, with its parameters.
      times: u.
      error: m, a constant for the gradient.
    """

    def slope(u: Array) -> tuple[Array, Array]:
        return jax.jvp(schedule.gamma, (u,), (jnp.ones_like(u),))

    (gamma, first), (_, second) = jax.jvp(slope, (times,), (jnp.ones_like(times),))
    fixed = jax.lax.stop_gradient
    return jnp.mean(fixed(jnp.square(error) * first) * (first - fixed(second / first) * gamma)) / 4
