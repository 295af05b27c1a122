"""The forward process and its posterior (Ho et al. 2020, section 2), and the simplified objective (equation 14)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.diffusion.schedules import Schedule

Array = jax.Array


def take(table: np.ndarray, t: Array, like: Array) -> Array:
    """Entries ``t`` ([N] or scalar) of a float64 table in the dtype of ``like`` [N, ...], shaped to broadcast against it."""
    return jnp.asarray(table, like.dtype)[t].reshape(jnp.shape(t) + (1,) * (like.ndim - jnp.ndim(t)))


def add_noise(schedule: Schedule, x0: Array, noise: Array, t: Array) -> Array:
    """x_t = sqrt(alphas_cumprod_t) x_0 + sqrt(1 - alphas_cumprod_t) noise (equation 4); ``[N, ...]``, t ``[N]``."""
    ac = schedule.alphas_cumprod
    return take(np.sqrt(ac), t, x0) * x0 + take(np.sqrt(1 - ac), t, x0) * noise


def noise_to_x0(schedule: Schedule, x_t: Array, noise: Array, t: Array) -> Array:
    """The x_0 that :func:`add_noise` took to ``x_t`` with this noise (equation 4 solved for x_0)."""
    ac = schedule.alphas_cumprod
    return take(1 / np.sqrt(ac), t, x_t) * x_t - take(np.sqrt(1 / ac - 1), t, x_t) * noise


def posterior_coefficients(alphas_cumprod: np.ndarray, alphas_cumprod_prev: np.ndarray):
    """q(x_prev | x_t, x_0) = N(a x_0 + b x_t, variance): the float64 tables ``(a, b, variance, beta)`` (equations 6, 7).

    The two arguments need not be neighbours in a schedule: a sampler that skips timesteps passes those that it visits,
    and gets the ``beta = 1 - alphas_cumprod / alphas_cumprod_prev`` of the longer step with them.
    """
    beta = 1 - alphas_cumprod / alphas_cumprod_prev
    a = np.sqrt(alphas_cumprod_prev) * beta / (1 - alphas_cumprod)
    b = np.sqrt(1 - beta) * (1 - alphas_cumprod_prev) / (1 - alphas_cumprod)
    variance = beta * (1 - alphas_cumprod_prev) / (1 - alphas_cumprod)
    return a, b, variance, beta


def noise_prediction_loss(
    predict_noise: Callable[[Array, Array], Array], schedule: Schedule, x0: Array, noise: Array, t: Array
) -> Array:
    """The simplified objective |noise - eps(x_t, t)|^2 of equation 14, averaged over each example's pixels: ``[N]``."""
    error = predict_noise(add_noise(schedule, x0, noise, t), t) - noise
    return jnp.mean(jnp.square(error), axis=tuple(range(1, error.ndim)))
