"""Data for which the best estimate of x_0 is known: a Gaussian, and a mixture of two."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, special

from jaxgen.diffusion.schedules import SCHEDULES, LearnedSchedule

MEAN, STD = 0.3, 0.5
MODES, WIDTH = np.array([-0.8, 0.6]), 0.2
SHARES = np.array([0.3, 0.7])


def schedule(name, timesteps=1000):
    """Return a schedule of the registry, the learned one with its initial parameters."""
    made = SCHEDULES[name](timesteps)
    return made.with_params(made.init(jax.random.key(0))) if isinstance(made, LearnedSchedule) else made


def gaussian(x, level):
    """Return E[x_0 | x] for x_0 ~ N(MEAN, STD^2)."""
    gain = level.alpha * STD**2 / (level.alpha**2 * STD**2 + level.sigma**2)
    return MEAN + gain * (x - level.alpha * MEAN)


def consistency_function(x, sigma):
    """Return the end of the trajectory from x at a noise level of EDM, for x_0 ~ N(MEAN, STD^2)."""
    return MEAN + STD / jnp.hypot(STD, sigma) * (x - MEAN)


def mixture(x, level):
    """Return E[x_0 | x] for the mixture."""
    x = x[..., None]
    variance = level.alpha**2 * WIDTH**2 + level.sigma**2
    share = jax.nn.softmax(jnp.log(SHARES) - (x - level.alpha * MODES) ** 2 / (2 * variance), axis=-1)
    means = MODES + level.alpha * WIDTH**2 / variance * (x - level.alpha * MODES)
    return jnp.sum(share * means, axis=-1)


def mixture_quantiles(q):
    """Return the points at which the distribution function of the mixture is ``q``."""

    def cdf(x, q):
        return np.sum(SHARES * special.ndtr((x - MODES) / WIDTH)) - q

    return np.array([optimize.brentq(cdf, -5, 5, args=(p,)) for p in q])
