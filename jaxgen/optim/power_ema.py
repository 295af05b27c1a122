"""Power-function averages of the weights, whose length is chosen after training.

Source: Karras et al. 2024, Analyzing and Improving the Training Dynamics of Diffusion Models, section 3 and appendix C. A
power-function average weights the parameters of update t in a run of T updates by t^gamma. Its length is the standard deviation
of this distribution of t, divided by T, so that a length of 0.1 spans about a tenth of the run for any T. A weighted sum of
snapshots of two such averages comes very close to an average of any length.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.types import Array, PyTree

LONGEST = 0.28  # a little less than sqrt(1 / 12), the length of the plain mean, whose gamma is 0


def exponent(length: float) -> float:
    """Return the gamma of an average: the root of ``length**2 = (gamma + 1) / ((gamma + 2)**2 (gamma + 3))`` (equation 126).

    Args:
      length: length of the average as a share of the run, above 0 and at most ``LONGEST``.
    """
    roots = np.roots([1, 7, 16 - length**-2, 12 - length**-2])
    return float(roots.real.max())


def start(params: PyTree, lengths: Sequence[float]) -> tuple[PyTree, ...]:
    """Return the averages before the first update: a copy of the parameters for each length."""
    return tuple(jax.tree.map(jnp.copy, params) for _ in lengths)


def update(averages: Sequence[PyTree], params: PyTree, updates: Array, lengths: Sequence[float]) -> tuple[PyTree, ...]:
    """Return the averages after one more update, with ``beta = (1 - 1/t)**(gamma + 1)`` (equation 127).

    Args:
      averages: the averages before the update, one for each of ``lengths``.
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
    """Return the integral over time of ``p_a p_b``, the product of the weights of two averages (equation 151).

    Args:
      t_a: number of updates after which the first average was taken, an array or a number.
      gamma_a: exponent of the first average.
      t_b: number of updates after which the second average was taken.
      gamma_b: exponent of the second average.
    """
    latest = np.maximum(t_a, t_b)
    power = np.where(t_a < t_b, gamma_b, -gamma_a)
    return (gamma_a + 1) * (gamma_b + 1) * (t_a / t_b) ** power / ((gamma_a + gamma_b + 1) * latest)


def coefficients(steps: np.ndarray, lengths: np.ndarray, step: float, length: float) -> np.ndarray:
    """Return the weights ``[K]`` with which snapshots of averages sum to the average of ``length`` at ``step``.

    They sum to 1 and minimise the squared difference between the two distributions over time.

    Args:
      steps: steps of the snapshots, ``[K]``.
      lengths: lengths of the averages in the snapshots, ``[K]``.
      step: step of the average to reconstruct.
      length: length of the average to reconstruct.
    """
    gammas, gamma = np.array([exponent(value) for value in lengths]), exponent(length)
    among = inner_product(steps[:, None], gammas[:, None], steps, gammas)
    found = np.linalg.lstsq(among, inner_product(steps, gammas, step, gamma), rcond=None)[0]
    return found / found.sum()
