"""Averages of the weights whose length is chosen after training (Karras et al. 2024, Analyzing and Improving the Training
Dynamics of Diffusion Models, section 3 and appendix C).

A power-function average weighs the parameters of update t in a run of T as t^gamma. Its length is the standard deviation of
that distribution of t over T, so that 0.1 spans about a tenth of the run whatever T is. A weighted sum of snapshots of two
such averages comes very near to one of any length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LONGEST = 0.28  # sqrt(1 / 12) is that of the plain mean, gamma = 0


def exponent(length: float) -> float:
    """gamma of an average of this length: ``length**2 = (gamma + 1) / ((gamma + 2)**2 (gamma + 3))`` (equation 126)."""
    roots = np.roots([1, 7, 16 - length**-2, 12 - length**-2])
    return float(roots.real.max())


def update(averages: Sequence[Any], params: Any, updates: jax.Array, lengths: Sequence[float]) -> tuple[Any, ...]:
    """The averages after the parameters of update ``updates + 1``, one for each length: ``beta = (1 - 1/t)**(gamma + 1)``
    (equation 127)."""
    t = updates + 1.0

    def one(average, length):
        share = 1 - (1 - 1 / t) ** (exponent(length) + 1)
        return jax.tree.map(lambda a, p: a + share.astype(a.dtype) * (p - a), average, params)

    return tuple(one(average, length) for average, length in zip(averages, lengths, strict=True))


def inner_product(t_a, gamma_a, t_b, gamma_b):
    """Of the averages' weights over time, the integral of ``p_a p_b`` (equation 151); arrays broadcast."""
    latest = np.maximum(t_a, t_b)
    power = np.where(t_a < t_b, gamma_b, -gamma_a)
    return (gamma_a + 1) * (gamma_b + 1) * (t_a / t_b) ** power / ((gamma_a + gamma_b + 1) * latest)


def coefficients(steps: np.ndarray, lengths: np.ndarray, step: float, length: float) -> np.ndarray:
    """Of the snapshots of averages at ``steps`` with ``lengths``, ``[K]`` both, for the one of ``length`` at ``step``.

    They sum to 1, and the weights of the sum over time are as near as can be to those of the average that is wanted.
    """
    gammas, gamma = np.array([exponent(value) for value in lengths]), exponent(length)
    among = inner_product(steps[:, None], gammas[:, None], steps, gammas)
    found = np.linalg.lstsq(among, inner_product(steps, gammas, step, gamma), rcond=None)[0]
    return found / found.sum()


def start(params: Any, lengths: Sequence[float]) -> tuple[Any, ...]:
    """The averages before the first update."""
    return tuple(jax.tree.map(jnp.copy, params) for _ in lengths)
