"""Averages of the weights whose length is chosen after training.

Karras et al. 2024, Analyzing and Improving the Training Dynamics of Diffusion Models, section 3 and appendix C: a
power-function average weighs the parameters of update t in a run of T updates by t^gamma. Its length is the standard deviation
of this distribution of t, divided by T, so that 0.1 spans about a tenth of the run whatever T is. A weighted sum of snapshots of
two such averages comes very close to an average of any length.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.types import Array, PyTree

LONGEST = 0.28  # the length of the plain mean, gamma = 0, is sqrt(1 / 12)


def exponent(length: float) -> float:
    """Return the gamma of an average: the root of ``length**2 = (gamma + 1) / ((gamma + 2)**2 (gamma + 3))`` (equation 126).

    Args:
      length: as a share of the run, above 0 and at most ``LONGEST``.
    """
    roots = np.roots([1, 7, 16 - length**-2, 12 - length**-2])
    return float(roots.real.max())


def start(params: PyTree, lengths: Sequence[float]) -> tuple[PyTree, ...]:
    """Return the averages before the first update: a copy of the parameters for each length."""
    return tuple(jax.tree.map(jnp.copy, params) for _ in lengths)


def update(averages: Sequence[PyTree], params: PyTree, updates: Array, lengths: Sequence[float]) -> tuple[PyTree, ...]:
    """Return the averages after one more update, with ``beta = (1 - 1/t)**(gamma + 1)`` (equation 127).

    Args:
      averages: one for each of ``lengths``.
      params: the parameters after the update.
      updates: number of updates made before this one.
      lengths: lengths of the averages.
    """
    t = updates + 1.0

    def updated(average: PyTree, length: float) -> PyTree:
        share = 1 - (1 - 1 / t) ** (exponent(length) + 1)
        return jax.tree.map(lambda a, p: a + share.astype(a.dtype) * (p - a), average, params)

    return tuple(updated(average, length) for average, length in zip(averages, lengths, strict=True))


def inner_product(t_a: PyTree, gamma_a: PyTree, t_b: PyTree, gamma_b: PyTree) -> PyTree:
    """Return the integral over time of ``p_a p_b``, the weights of two averages (equation 151).

    Args:
      t_a: updates at which the first average was taken, an array or a number.
      gamma_a: exponent of the first average.
      t_b: updates at which the second average was taken.
      gamma_b: exponent of the second average.
    """
    latest = np.maximum(t_a, t_b)
    power = np.where(t_a < t_b, gamma_b, -gamma_a)
    return (gamma_a + 1) * (gamma_b + 1) * (t_a / t_b) ** power / ((gamma_a + gamma_b + 1) * latest)


def coefficients(steps: np.ndarray, lengths: np.ndarray, step: float, length: float) -> np.ndarray:
    """Return the weights ``[K]`` of snapshots whose sum is closest to the average of ``length`` at ``step``.

    They sum to 1 and minimise the squared difference between the two distributions over time.

    Args:
      steps: steps of the snapshots, ``[K]``.
      lengths: lengths of the snapshots, ``[K]``.
      step: the step whose average is wanted.
      length: the length of that average.
    """
    gammas, gamma = np.array([exponent(value) for value in lengths]), exponent(length)
    among = inner_product(steps[:, None], gammas[:, None], steps, gammas)
    found = np.linalg.lstsq(among, inner_product(steps, gammas, step, gamma), rcond=None)[0]
    return found / found.sum()
