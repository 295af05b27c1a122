"""Samplers: each a table of float64 coefficients and one ``lax.scan`` over it.

All share one signature. ``denoise(x, t)`` is the network's estimate of x_0 from ``x`` ([N, ...]) at timestep ``t``
(int32 scalar), clipped or not as the caller likes; ``x`` is the start, standard normal at the last timestep;
``noise(i)`` gives the standard normal of step ``i`` in the shape of ``x``. All randomness comes in through these two,
so that a sampler is a deterministic function, and its law can be read off its derivatives.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.diffusion.process import posterior_coefficients
from jaxgen.diffusion.schedules import Schedule

Array = jax.Array
Denoiser = Callable[[Array, Array], Array]
Noise = Callable[[Array], Array]


def trailing_timesteps(timesteps: int, num_steps: int) -> np.ndarray:
    """``num_steps`` of the timesteps 0 .. T-1, falling, evenly spaced and beginning at T-1 (Lin et al. 2023, table 2).

    Raises:
      ValueError: if there are fewer timesteps than steps.
    """
    if not 1 <= num_steps <= timesteps:
        raise ValueError(f'num_steps must lie between 1 and the {timesteps} timesteps, not {num_steps}')
    return np.round(np.arange(num_steps, 0, -1) * timesteps / num_steps).astype(np.int32) - 1


def _visited(schedule: Schedule, num_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The timesteps visited, their alphas_cumprod, and that of the next one visited (1 at the end)."""
    t = trailing_timesteps(schedule.timesteps, num_steps)
    ac = schedule.alphas_cumprod[t]
    return t, ac, np.append(ac[1:], 1.0)


def _affine_scan(denoise: Denoiser, noise: Noise, x: Array, t, a, b, std) -> Array:
    """x <- a denoise(x, t) + b x + std noise, over the rows of the tables."""

    def step(x, row):
        i, t, a, b, std = row
        return a * denoise(x, t) + b * x + std * noise(i), None

    tables = (jnp.asarray(table, x.dtype) for table in (a, b, std))
    return jax.lax.scan(step, x, (jnp.arange(len(t)), jnp.asarray(t), *tables))[0]


def ancestral(
    denoise: Denoiser, schedule: Schedule, x: Array, noise: Noise, num_steps: int, variance: str = 'fixedlarge'
) -> Array:
    """The sampler of Ho et al. 2020 (algorithm 2), on all timesteps or, respaced, on some (Nichol & Dhariwal 2021).

    Args:
      variance: 'fixedlarge' (beta) or 'fixedsmall' (the posterior's variance); the last step adds no noise in both.
    """
    t, ac, ac_prev = _visited(schedule, num_steps)
    a, b, small, large = posterior_coefficients(ac, ac_prev)
    std = np.sqrt({'fixedlarge': large, 'fixedsmall': small}[variance])
    std[-1] = 0.0
    return _affine_scan(denoise, noise, x, t, a, b, std)


def ddim(denoise: Denoiser, schedule: Schedule, x: Array, noise: Noise, num_steps: int, eta: float = 0.0) -> Array:
    """The sampler of Song et al. 2021 (DDIM, equation 12); ``eta`` 0 is deterministic, 1 has the posterior's variance.

    The noise estimate is taken from the (clipped) x_0, so that both always explain x.
    """
    t, ac, ac_prev = _visited(schedule, num_steps)
    std = eta * np.sqrt((1 - ac_prev) / (1 - ac) * (1 - ac / ac_prev))
    b = np.sqrt((1 - ac_prev - std**2) / (1 - ac))
    a = np.sqrt(ac_prev) - b * np.sqrt(ac)
    return _affine_scan(denoise, noise, x, t, a, b, std)


SAMPLERS: dict[str, Callable[..., Array]] = {
    'ddpm': ancestral,
    'ddpm_fixedsmall': functools.partial(ancestral, variance='fixedsmall'),
    'ddim': ddim,
}
