"""The Gaussian posterior of one step towards the data, given x_0, which ancestral sampling and the variational bound use."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Float

from jaxgen.diffusion.levels import Level
from jaxgen.types import Array


class PosteriorCoefficients(NamedTuple):
    """The posterior q(x_next | x_t, x_0) = N(coef_x0 x_0 + coef_xt x_t, posterior_variance), where x_next has less noise.

    Attributes:
      coef_x0, coef_xt: factors of x_0 and of x_t in the mean.
      posterior_variance: variance of x_next given x_t and x_0, beta~_t in Ho et al. 2020 (equation 7).
      forward_variance: variance of x_t given x_next; beta_t for a variance-preserving process.
    """

    coef_x0: Array
    coef_xt: Array
    posterior_variance: Array
    forward_variance: Array


def posterior_coefficients(level: Level, next_level: Level) -> PosteriorCoefficients:
    """Return the coefficients of the posterior from each level to a level with less noise, which need not be the next one.

    These are equations 6 and 7 of Ho et al. 2020, for any process with Gaussian noise (Kingma et al. 2021, appendix A).
    """
    ratio = level.alpha / next_level.alpha
    forward_variance = level.sigma**2 - ratio**2 * next_level.sigma**2
    return PosteriorCoefficients(
        coef_x0=next_level.alpha * forward_variance / level.sigma**2,
        coef_xt=ratio * next_level.sigma**2 / level.sigma**2,
        posterior_variance=forward_variance * next_level.sigma**2 / level.sigma**2,
        forward_variance=forward_variance,
    )


def interpolated_variance(
    fraction: Float[Array, ' ...'], posterior_variance: Array, forward_variance: Array
) -> Float[Array, ' ...']:
    """Return the variance that a predicted ``fraction`` stands for (Nichol & Dhariwal 2021, equation 15).

    The logarithm of the variance is interpolated: -1 gives the posterior's variance, and 1 the forward variance.
    """
    share = (fraction + 1) / 2
    return jnp.exp(share * jnp.log(forward_variance) + (1 - share) * jnp.log(posterior_variance))
