"""Variational bounds on -log p(image) in nats a pixel and channel, for images of 256 grey levels k / 127.5 - 1.

The bound is the sum of three terms (Kingma et al. 2021, Variational Diffusion Models, equation 11):

    prior            KL(q(x_1 | x_0) || p(x_1))              ``prior_term``
    reconstruction   -log p(x_0 | x) at the cleanest level   ``reconstruction_term``
    diffusion        the steps between the two               ``diffusion_term``

For a schedule of T timesteps it is L_T + L_{T-1} + ... + L_0 (Ho et al. 2020, equation 5): L_T is ``prior_term``, and the others
are ``timestep_term``, of which L_0 is the decoder.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Float, Int

from jaxgen.diffusion.levels import Level, Numbers
from jaxgen.diffusion.losses import add_noise, mean_of_each
from jaxgen.diffusion.posterior import interpolated_variance, posterior_coefficients
from jaxgen.diffusion.schedules import DiscreteSchedule
from jaxgen.types import Array

HALF_BIN = 1 / 255  # half of the distance between two grey levels


def prior_term(x0: Float[Array, 'n ...'], level: Level) -> Float[Array, ' n']:
    """Return KL(q(x | x_0) || N(0, alpha^2 + sigma^2)) at the noisiest level, whose arrays are scalars or ``[N]``."""
    here = level.broadcast_to(x0)
    return mean_of_each(gaussian_kl(here.alpha * x0, here.sigma**2, 0.0, here.alpha**2 + here.sigma**2))


def reconstruction_term(x0: Float[Array, 'n ...'], noise: Float[Array, 'n ...'], level: Level) -> Float[Array, ' n']:
    """Return -log p(x_0 | x) at the cleanest level (Kingma et al. 2021, section 3.3).

    The probability of each grey level k is proportional to q(x | k).
    """
    here = level.broadcast_to(x0)
    greys = jnp.arange(256) / 127.5 - 1
    std = (here.sigma / here.alpha)[..., None]
    distances = (x0[..., None] - greys) / std + noise[..., None]
    return mean_of_each(jax.nn.logsumexp(-0.5 * jnp.square(distances), axis=-1) + 0.5 * jnp.square(noise))


def diffusion_term(
    x0: Float[Array, 'n ...'], level: Level, x0_estimate: Float[Array, 'n ...'], gamma_range: Numbers
) -> Float[Array, ' n']:
    """Estimate the diffusion loss of infinitely many steps from one noise level (Kingma et al. 2021, equation 15).

    The loss is the integral of SNR |x_0 - x0_estimate|^2 / 2 over gamma = -log SNR.

    Args:
      x0: images.
      level: a random noise level for each image, ``[N]``: uniform in gamma over a range of length ``gamma_range``, or from a
        distribution whose density at that level is 1 / ``gamma_range``.
      x0_estimate: the network's estimate of x_0 at that level.
      gamma_range: length of the range of gamma.
    """
    snr = jnp.square(level.alpha / level.sigma)
    return 0.5 * gamma_range * snr * mean_of_each(jnp.square(x0 - x0_estimate))


class ReverseStep(NamedTuple):
    """The coefficients of the steps of the reverse process.

    The arrays are ``[T]`` for all timesteps; for selected timesteps, their shape broadcasts to images.

    Attributes:
      coef_x0, coef_xt: factors in the mean of the posterior.
      true_variance: variance of the posterior, beta~_t, or a tiny number at t = 0.
      small: variance of the model with 'fixedsmall': beta~_t, or beta~_1 at t = 0, where the decoder needs a variance.
      large: variance of the model with 'fixedlarge': beta_t.
    """

    coef_x0: Array
    coef_xt: Array
    true_variance: Numbers
    small: Numbers
    large: Numbers


def timestep_term(
    schedule: DiscreteSchedule,
    x0: Float[Array, 'n ...'],
    noise: Float[Array, 'n ...'],
    t: Int[Array, ' n'],
    x0_estimate: Float[Array, 'n ...'],
    *,
    variance: str | Float[Array, 'n ...'] = 'fixedsmall',
) -> Float[Array, ' n']:
    """Return the term L_t of the bound (Ho et al. 2020, equation 5), which is the decoder's L_0 where t = 0.

    Args:
      schedule: the schedule of T timesteps.
      x0: images.
      noise: the standard normal noise in x_t.
      t: timesteps.
      x0_estimate: the network's estimate of x_0 at x_t.
      variance: variance of the model's step: 'fixedsmall', 'fixedlarge', or a learned fraction from -1 (the posterior's
        variance) to 1 (beta_t), see equation 15 of Nichol & Dhariwal 2021.
    """
    step = ReverseStep(
        *(jnp.asarray(table, x0.dtype)[t].reshape(t.shape + (1,) * (x0.ndim - 1)) for table in reverse_steps(schedule))
    )
    if isinstance(variance, str):
        model_variance = {'fixedsmall': step.small, 'fixedlarge': step.large}[variance] + jnp.zeros_like(x0)
    else:
        model_variance = interpolated_variance(variance, step.small, step.large)
    x_t = add_noise(x0, noise, schedule.level(t))
    model_mean = step.coef_x0 * x0_estimate + step.coef_xt * x_t
    true_mean = step.coef_x0 * x0 + step.coef_xt * x_t
    kl = mean_of_each(gaussian_kl(true_mean, step.true_variance, model_mean, model_variance))
    return jnp.where(t == 0, discretised_nll(x0, model_mean, jnp.sqrt(model_variance)), kl)


def reverse_steps(schedule: DiscreteSchedule) -> ReverseStep:
    """Return the coefficients of all steps t -> t-1 of the reverse process, float64 ``[T]``."""
    alphas_cumprod = schedule.alphas_cumprod
    alphas_cumprod_prev = np.append(1.0, alphas_cumprod[:-1])
    t = np.arange(schedule.timesteps)
    posterior = posterior_coefficients(
        Level(np.sqrt(alphas_cumprod), np.sqrt(1 - alphas_cumprod), t),
        Level(np.sqrt(alphas_cumprod_prev), np.sqrt(1 - alphas_cumprod_prev), t - 1),
    )
    variance = posterior.posterior_variance
    return ReverseStep(
        coef_x0=posterior.coef_x0,
        coef_xt=posterior.coef_xt,
        true_variance=np.maximum(variance, 1e-20),
        small=np.append(variance[1], variance[1:]) if len(variance) > 1 else posterior.forward_variance,
        large=posterior.forward_variance,
    )


def gaussian_kl(mean: Numbers, variance: Numbers, other_mean: Numbers, other_variance: Numbers) -> Array:
    """Return KL(N(mean, variance) || N(other_mean, other_variance)), element by element."""
    ratio = variance / other_variance
    return 0.5 * (ratio - 1 - jnp.log(ratio) + jnp.square(mean - other_mean) / other_variance)


def discretised_nll(x0: Float[Array, 'n ...'], mean: Array, std: Array) -> Float[Array, ' n']:
    """Return the mean of -log P(bin of each grey level) under N(mean, std^2) (Ho et al. 2020, equation 13).

    The outermost bins extend to infinity.
    """
    lower, upper = (x0 - mean - HALF_BIN) / std, (x0 - mean + HALF_BIN) / std
    # Where the whole bin lies above the mean, its mass is computed in the lower tail, where small probabilities are exact.
    above = lower > 0
    a, b = jnp.where(above, -lower, upper), jnp.where(above, -upper, lower)
    inside = norm.logcdf(a) + jnp.log1p(-jnp.exp(jnp.minimum(norm.logcdf(b) - norm.logcdf(a), -1e-7)))
    log_mass = jnp.where(x0 < -0.999, norm.logcdf(upper), jnp.where(x0 > 0.999, norm.logcdf(-lower), inside))
    return -mean_of_each(log_mass)
