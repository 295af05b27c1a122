"""The Frechet distance between two sets of features. For Inception features it is the FID."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxgen.metrics.moments import Moments


def frechet_distance(a: Moments, b: Moments) -> float:
    """Compute the squared Frechet distance between two Gaussians with these moments.

    ``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))`` (Heusel et al. 2017, equation 6). The eigenvalues of ``C_a C_b``
    are those of the symmetric matrix ``C_a^(1/2) C_b C_a^(1/2)``, and their square roots sum to the trace of the root.

    Args:
      a: moments of the features of one set.
      b: moments of the features of the other set.

    Returns:
      The distance, computed in float64; at least 0 up to rounding errors.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ b.covariance @ root)
    cross = np.sqrt(np.maximum(product, 0)).sum()
    apart = a.mean - b.mean
    return float(apart @ apart + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross)


def frechet_distance_of_few(a: Float[np.ndarray, 'n d'], b: Float[np.ndarray, 'm d']) -> float:
    """Compute the Frechet distance directly from the features, which is fast if n or m is much smaller than d.

    Let A and B be the centred features, divided by ``sqrt(n - 1)`` and ``sqrt(m - 1)``. Then the eigenvalues of ``C_a C_b`` are
    the squared singular values of the n x m matrix ``A B^T``.

    Args:
      a: features of one set.
      b: features of the other set.
    """
    x, mean_x = _centred(a)
    y, mean_y = _centred(b)
    cross = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    apart = mean_x - mean_y
    return float(apart @ apart + (x**2).sum() + (y**2).sum() - 2 * cross)


def _centred(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the centred features divided by ``sqrt(n - 1)``, and their mean."""
    x = np.asarray(features, np.float64)
    mean = x.mean(0)
    return (x - mean) / np.sqrt(len(x) - 1), mean
