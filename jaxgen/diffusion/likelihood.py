"""Variational bounds on -log p(image), for images of 256 grey levels k / 127.5 - 1; in nats a pixel and channel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from jaxgen.diffusion.losses import add_noise, mean_of_each
from jaxgen.diffusion.samplers import between, transition
from jaxgen.diffusion.schedules import Discrete, Level

Array = jax.Array
HALF_BIN = 1 / 255


def discretised_nll(x0: Array, mean: Array, std: Array) -> Array:
    """-log of the mass that N(mean, std^2) has on the bin of each grey level, the outermost bins reaching to infinity
    (Ho et al. 2020, equation 13); ``x0 [N, ...] -> [N]``.
    """
    lower, upper = (x0 - mean - HALF_BIN) / std, (x0 - mean + HALF_BIN) / std
    above = lower > 0  # both bounds beyond the mean: the mass is a difference of small numbers in the other tail
    a, b = jnp.where(above, -lower, upper), jnp.where(above, -upper, lower)
    inside = norm.logcdf(a) + jnp.log1p(-jnp.exp(jnp.minimum(norm.logcdf(b) - norm.logcdf(a), -1e-7)))
    return -mean_of_each(jnp.where(x0 < -0.999, norm.logcdf(upper), jnp.where(x0 > 0.999, norm.logcdf(-lower), inside)))


def gaussian_kl(mean: Array, variance: Array, other_mean: Array, other_variance: Array) -> Array:
    """KL(N(mean, variance) || N(other_mean, other_variance)), element by element."""
    ratio = variance / other_variance
    return 0.5 * (ratio - 1 - jnp.log(ratio) + jnp.square(mean - other_mean) / other_variance)


def prior_term(x0: Array, level: Level) -> Array:
    """KL(q(x | x_0) || N(0, alpha^2 + sigma^2)) at the noisiest level (``[N]``, or scalar): ``[N]``."""
    here = level.like(x0)
    return mean_of_each(gaussian_kl(here.alpha * x0, here.sigma**2, 0.0, here.alpha**2 + here.sigma**2))


def discrete_term(
    schedule: Discrete, x0: Array, noise: Array, t: Array, estimated: Array, variance: str | Array = 'fixedsmall'
) -> Array:
    """L_t of the bound (Ho et al. 2020, equation 5), for t = 0 the decoder's L_0: ``[N]``.

    Args:
      x0: ``[N, ...]``, noise likewise, for integer timesteps ``t [N]``.
      estimated: the network's x_0 at x_t.
      variance: of the model's step, as ``samplers.ancestral`` has it; a learned one as ``[N, ...]`` between -1, the
        posterior's, and 1, beta (Nichol & Dhariwal 2021, equation 15). 'fixedsmall' takes x_1's for the decoder.
    """
    ac = schedule.alphas_cumprod
    tables = transition(
        np.sqrt(ac), np.sqrt(1 - ac), np.sqrt(np.append(1.0, ac[:-1])), np.sqrt(1 - np.append(1.0, ac[:-1]))
    )
    small = np.append(tables.small[1], tables.small[1:]) if len(ac) > 1 else tables.large
    of_x0, of_x, true, small, large = (
        jnp.asarray(table, x0.dtype)[t].reshape(t.shape + (1,) * (x0.ndim - 1))
        for table in (tables.of_x0, tables.of_x, np.maximum(tables.small, 1e-20), small, tables.large)
    )
    if isinstance(variance, str):
        model_variance = {'fixedsmall': small, 'fixedlarge': large}[variance] + jnp.zeros_like(x0)
    else:
        model_variance = between(variance, small, large)
    x_t = add_noise(x0, noise, schedule.level(t))
    mean = of_x0 * estimated + of_x * x_t
    kl = mean_of_each(gaussian_kl(of_x0 * x0 + of_x * x_t, true, mean, model_variance))
    return jnp.where(t == 0, discretised_nll(x0, mean, jnp.sqrt(model_variance)), kl)


def continuous_term(x0: Array, level: Level, estimated: Array, gamma_range: Array) -> Array:
    """An estimate of the diffusion loss of infinitely many steps, from one level (Kingma et al. 2021, equation 15): ``[N]``.

    It is the integral of SNR |x_0 - estimated|^2 / 2 over gamma = -log SNR, for levels uniform in gamma over a range of
    length ``gamma_range``, or with density 1 / ``gamma_range`` where they are.
    """
    snr = jnp.square(level.alpha / level.sigma)
    return 0.5 * gamma_range * snr * mean_of_each(jnp.square(x0 - estimated))


def reconstruction_term(x0: Array, noise: Array, level: Level) -> Array:
    """-log p(x_0 | x) at the cleanest level, each grey level k in proportion to q(x | k) (Kingma et al. 2021, section 3.3):
    ``[N]``.
    """
    here = level.like(x0)
    greys = jnp.arange(256) / 127.5 - 1
    std = (here.sigma / here.alpha)[..., None]
    away = (x0[..., None] - greys) / std + noise[..., None]
    return mean_of_each(jax.nn.logsumexp(-0.5 * jnp.square(away), axis=-1) + 0.5 * jnp.square(noise))
