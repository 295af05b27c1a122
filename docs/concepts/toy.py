"""A distribution of points in the plane whose best denoiser is known: a mixture of Gaussians in two classes.

``make.py`` uses it for the pictures of docs/concepts. A point takes the place of an image, x_0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.diffusion import Level
from jaxgen.types import Array

MOST_NOISE = 1000.0  # sigma / alpha at which ``follow`` starts instead of pure noise
LEAST_NOISE = 1e-3  # sigma / alpha from which ``follow`` takes the last step to the data


class Mixture(NamedTuple):
    """A mixture of K round Gaussians.

    Attributes:
      centres: centre of each Gaussian, ``[K, 2]``.
      width: standard deviation of each Gaussian.
      shares: probability of each Gaussian, ``[K]``; they sum to 1.
    """

    centres: np.ndarray
    width: float
    shares: np.ndarray

    def sample(self, num: int, seed: int = 0) -> np.ndarray:
        """Return ``num`` random points, ``[num, 2]``."""
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(self.shares), num, p=self.shares)
        return self.centres[chosen] + self.width * rng.normal(size=(num, 2))

    def denoise(self, x: Array, level: Level) -> Array:
        """Return E[x_0 | x] of points ``[N, 2]`` at a scalar noise level.

        Given component k, x is normal with mean alpha c_k and variance alpha^2 width^2 + sigma^2. So the probability of k given
        x is a softmax, and E[x_0 | x, k] = c_k + alpha width^2 / (alpha^2 width^2 + sigma^2) (x - alpha c_k).
        """
        variance = level.alpha**2 * self.width**2 + level.sigma**2
        apart = x[:, None] - level.alpha * self.centres
        logits = jnp.log(self.shares) - jnp.sum(apart**2, axis=2) / (2 * variance)
        means = self.centres + level.alpha * self.width**2 / variance * apart
        return jnp.sum(jax.nn.softmax(logits, axis=1)[..., None] * means, axis=1)

    def distance(self, points: np.ndarray, directions: int = 16) -> float:
        """Return the sliced Wasserstein-1 distance between points ``[N, 2]`` and the mixture.

        It is the mean over directions of the distance between the sorted projections and the quantiles of the mixture. For
        infinitely many points of the mixture it is 0.
        """
        ranks = (np.arange(len(points)) + 0.5) / len(points)
        found = []
        for angle in np.pi * np.arange(directions) / directions:
            direction = np.array([np.cos(angle), np.sin(angle)])
            projected = np.sort(np.asarray(points, np.float64) @ direction)
            found.append(np.abs(projected - self._quantiles(ranks, direction)).mean())
        return float(np.mean(found))

    def _quantiles(self, ranks: np.ndarray, direction: np.ndarray) -> np.ndarray:
        grid = np.linspace(-3, 3, 6001)
        along = (grid[:, None] - self.centres @ direction) / self.width
        cdf = np.asarray(jax.scipy.stats.norm.cdf(along)) @ self.shares
        return np.interp(ranks, cdf, grid)


def arc(turned: bool, width: float = 0.08) -> Mixture:
    """Return a class: five Gaussians along the upper half of a circle, or along the lower half if ``turned``."""
    angles = np.linspace(0.05, 0.95, 5) * np.pi
    circle = 0.7 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    centres = np.array([0.3, 0.2]) - circle if turned else circle - np.array([0.3, 0.2])
    return Mixture(centres, width, np.full(5, 0.2))


def both(width: float = 0.08) -> Mixture:
    """Return the two classes together, with equal shares."""
    first, second = arc(False, width), arc(True, width)
    return Mixture(np.concatenate([first.centres, second.centres]), width, np.full(10, 0.1))


def follow(
    denoiser: Callable[[Array, Level], Array], x: Array, start: Level, end: Level, num_steps: int = 200
) -> Array:
    """Follow the probability-flow equation from one noise level to another, by many steps of Heun's method.

    In y = x / alpha and t = sigma / alpha the equation is dy/dt = (y - x_0(y, t)) / t for every process (Karras et al. 2022,
    equations 1 and 3), and the steps are equal in log t.

    Args:
      denoiser: the estimate of x_0 from x at a scalar level.
      x: points ``[N, 2]`` at the first level.
      start: scalar level at which ``x`` is; it may be pure noise.
      end: scalar level with less noise; it may be the data.
      num_steps: number of steps.

    Returns:
      The points at the level ``end``, ``[N, 2]``.
    """

    def slope(y: Array, t: Array) -> Array:
        return (y - denoiser(y, Level(1.0, t, jnp.log(t)))) / t

    def step(y: Array, times: tuple[Array, Array]) -> tuple[Array, None]:
        t, t_next = times
        first = slope(y, t)
        second = slope(y + (t_next - t) * first, t_next)
        return y + (t_next - t) * (first + second) / 2, None

    t_start = jnp.minimum(start.sigma / jnp.maximum(start.alpha, 1e-9), MOST_NOISE)
    t_end = jnp.maximum(end.sigma / end.alpha, LEAST_NOISE)
    times = jnp.exp(jnp.linspace(jnp.log(t_start), jnp.log(t_end), num_steps + 1))
    y = x * jnp.sqrt((1 + t_start**2) / (start.alpha**2 + start.sigma**2))
    y, _ = jax.lax.scan(step, y, (times[:-1], times[1:]))
    y = jnp.where(end.sigma > 0, y, y - t_end * slope(y, t_end))
    return end.alpha * y
