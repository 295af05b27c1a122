"""The kernel distance between two sets of features. For Inception features it is the KID."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def kernel_distance(
    fake: Float[np.ndarray, 'n d'],
    real: Float[np.ndarray, 'm d'],
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> tuple[float, float | None]:
    """Compute the KID (Binkowski et al. 2018): the unbiased squared MMD, averaged over random subsets.

    The kernel is ``k(x, y) = (x y / d + 1)^3``. For subsets X and Y of s features each, the estimate is

      ``(sum_{i != j} k(x_i, x_j) + sum_{i != j} k(y_i, y_j)) / (s (s - 1)) - 2 / s^2 sum_{i, j} k(x_i, y_j)``.

    For the same seed, the subsets are the same as in torch-fidelity.

    Args:
      fake: features of generated images.
      real: features of reference images.
      subsets: number of random pairs of subsets.
      subset_size: number of features in each subset; if a set is smaller, the subsets have its size.
      seed: random seed that chooses the subsets.

    Returns:
      The mean and the standard deviation over subsets, computed in float64. The deviation is None if each subset of one set
      is the whole set, since it would then show only how the other set varies.
    """
    size = min(subset_size, len(fake), len(real))
    rng = np.random.RandomState(seed)
    fake, real = np.asarray(fake, np.float64), np.asarray(real, np.float64)
    is_one_estimate = size == len(fake) == len(real)
    distances = []
    for _ in range(1 if is_one_estimate else subsets):
        x = fake[rng.choice(len(fake), size, replace=False)]
        y = real[rng.choice(len(real), size, replace=False)]
        xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
        within = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (size * (size - 1))
        distances.append(within - 2 * xy.mean())
    is_whole_set = size == min(len(fake), len(real))
    return float(np.mean(distances)), None if is_whole_set else float(np.std(distances))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the polynomial kernel of all pairs, ``[n, m]``."""
    k = x @ y.T / x.shape[1] + 1
    return k * k * k  # NumPy's power is much slower
