"""The quantities that a network may predict at a noise level, and the estimate of the image x_0 that follows from each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Float

from jaxgen.diffusion.levels import Level, Numbers
from jaxgen.types import Array

Network = Callable[[Array, Array], Array]  # F(x, t): maps images [N, H, W, C] and times, [N] or scalar, to an output


class Preconditioning(NamedTuple):
    """The coefficients of the estimate of x_0 by a network F at x = alpha x_0 + sigma noise, and of the target of F.

    x_0 = ``c_skip`` x + ``c_out`` F(``c_in`` x), and the target of F is ``target_x0`` x_0 + ``target_noise`` noise. Each
    coefficient is a number, or an array that broadcasts against x.
    """

    c_in: Array | float
    c_skip: Array | float
    c_out: Array | float
    target_x0: Array | float
    target_noise: Array | float

    def target(self, x0: Float[Array, 'n ...'], noise: Float[Array, 'n ...']) -> Float[Array, 'n ...']:
        """Return what F is trained to predict."""
        return self.target_x0 * x0 + self.target_noise * noise


class Prediction(NamedTuple):
    """The output of a denoiser for noisy images.

    Attributes:
      mean: the estimate of x_0, ``[N, H, W, C]``.
      variance_fraction: where the variance of the sampling step lies between its two bounds, -1 to 1, in the shape of
        ``mean`` (see ``interpolated_variance``); None if the network does not learn it.
    """

    mean: Array
    variance_fraction: Array | None = None


def eps(alpha: Numbers, sigma: Numbers) -> Preconditioning:
    """Predict the noise: x_0 = (x - sigma F) / alpha (Ho et al. 2020, equation 15)."""
    return Preconditioning(1.0, 1 / alpha, -sigma / alpha, 0.0, 1.0)


def x0(alpha: Numbers, sigma: Numbers) -> Preconditioning:
    """Predict the image: x_0 = F (Salimans & Ho 2022, section 4)."""
    return Preconditioning(1.0, 0.0, 1.0, 1.0, 0.0)


def v(alpha: Numbers, sigma: Numbers) -> Preconditioning:
    """Predict v = alpha noise - sigma x_0 (Salimans & Ho 2022), where alpha^2 + sigma^2 = 1."""
    return Preconditioning(1.0, alpha, -sigma, -sigma, alpha)


def flow(alpha: Numbers, sigma: Numbers) -> Preconditioning:
    """Predict the velocity noise - x_0 (Liu et al. 2023), where alpha + sigma = 1."""
    return Preconditioning(1.0, 1.0, -sigma, -1.0, 1.0)


def edm(alpha: Numbers, sigma: Numbers, sigma_data: float = 0.5) -> Preconditioning:
    """Give the network an input and a target of unit variance (Karras et al. 2022, table 1).

    For y = x / alpha and s = sigma / alpha, x_0 = c_skip y + c_out F(c_in y) with c_in = 1 / sqrt(s^2 + sigma_data^2),
    c_skip = (sigma_data c_in)^2 and c_out = s sigma_data c_in.
    """
    squares = sigma**2 + alpha**2 * sigma_data**2
    root = jnp.sqrt(squares)
    return Preconditioning(
        c_in=1 / root,
        c_skip=alpha * sigma_data**2 / squares,
        c_out=sigma * sigma_data / root,
        target_x0=sigma / (sigma_data * root),
        target_noise=-alpha * sigma_data / root,
    )


PREDICTIONS: dict[str, Callable[[Array, Array], Preconditioning]] = {
    'eps': eps,
    'x0': x0,
    'v': v,
    'edm': edm,
    'flow': flow,
}


def split_variance(output: Float[Array, '... two_c']) -> tuple[Float[Array, '... c'], Float[Array, '... c']]:
    """Split the output of a network that learns its variance into the prediction and the variance fraction."""
    predicted, variance_fraction = jnp.split(output, 2, axis=-1)
    return predicted, variance_fraction


def predict(
    prediction: str, network: Network, x: Float[Array, 'n ...'], level: Level, *, learned_variance: bool = False
) -> Prediction:
    """Return the estimate of x_0 that a network makes of ``x``, and its variance fraction if it learns one.

    Args:
      prediction: what the network predicts, one of ``PREDICTIONS``.
      network: F(x, t).
      x: noisy images.
      level: their noise levels; the arrays are scalars or ``[N]``.
      learned_variance: whether the output contains a variance fraction, see ``split_variance``.
    """
    here = level.broadcast_to(x)
    p = PREDICTIONS[prediction](here.alpha, here.sigma)
    skipped = p.c_skip * x
    output, variance_fraction = network(p.c_in * x, here.t), None
    if learned_variance:
        output, variance_fraction = split_variance(output)
    return Prediction(skipped + p.c_out * output, variance_fraction)


def estimate_x0(prediction: str, network: Network, x: Float[Array, 'n ...'], level: Level) -> Float[Array, 'n ...']:
    """Return the estimate of x_0 that a network makes of ``x`` at ``level`` (scalars or ``[N]``)."""
    return predict(prediction, network, x, level).mean
