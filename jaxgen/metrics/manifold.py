"""Precision and recall, and density and coverage: compare the manifolds that two sets of features span."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from jaxgen.errors import check


def precision_recall(
    fake: Float[np.ndarray, 'n d'], real: Float[np.ndarray, 'm d'], neighbours: int = 3
) -> tuple[float, float]:
    """Compute improved precision and recall (Kynkaanniemi et al. 2019).

    The manifold of a set is the union of balls around its points; each ball reaches to the k-th nearest neighbour of its
    point. Precision is the share of ``fake`` inside the manifold of ``real``, recall the share of ``real`` inside the
    manifold of ``fake``.

    Args:
      fake: features of generated images.
      real: features of reference images.
      neighbours: the number k of the nearest neighbour that a ball reaches to.

    Returns:
      (precision, recall), both between 0 and 1.

    Raises:
      UserError: if a set has k features or fewer.
    """
    check(
        min(len(fake), len(real)) > neighbours, f'precision and recall need more than {neighbours} images in each set'
    )
    fake, real = np.asarray(fake, np.float64), np.asarray(real, np.float64)
    return _share_within(fake, real, neighbours), _share_within(real, fake, neighbours)


def density_coverage(
    fake: Float[np.ndarray, 'n d'], real: Float[np.ndarray, 'm d'], neighbours: int = 5
) -> tuple[float, float]:
    """Compute density and coverage (Naeem et al. 2020).

    A ball around each real feature reaches to its k-th nearest neighbour among the other real features. Density is the
    number of balls that a fake feature lies in, averaged over the fake features and divided by k. Coverage is the share of
    the balls that a fake feature lies in. As in the authors' code, a ball does not contain its surface.

    Args:
      fake: features of generated images.
      real: features of reference images.
      neighbours: the number k of the nearest neighbour that a ball reaches to.

    Returns:
      (density, coverage). Density is at least 0, may be larger than 1, and is 1 on average if both sets have the same
      distribution; coverage is between 0 and 1.

    Raises:
      UserError: if there is no fake feature, or no more than k real ones.
    """
    check(
        len(fake) > 0 and len(real) > neighbours,
        f'density and coverage need a generated image and more than {neighbours} reference images',
    )
    fake, real = np.asarray(fake, np.float64), np.asarray(real, np.float64)
    radii = _radii(real, neighbours)
    balls, covered = 0, np.zeros(len(real), bool)
    for distances in _distances(fake, real):
        inside = distances < radii
        balls += int(inside.sum())
        covered |= inside.any(0)
    return balls / (neighbours * len(fake)), float(covered.mean())


def _radii(manifold: np.ndarray, neighbours: int) -> np.ndarray:
    """Return the squared distance of each point to its k-th nearest neighbour among the other points."""
    return np.concatenate([np.partition(d, neighbours, axis=1)[:, neighbours] for d in _distances(manifold, manifold)])


def _share_within(points: np.ndarray, manifold: np.ndarray, neighbours: int) -> float:
    radii = _radii(manifold, neighbours)
    return float(np.concatenate([(d <= radii).any(1) for d in _distances(points, manifold)]).mean())


def _distances(x: np.ndarray, y: np.ndarray, rows: int = 1000) -> Iterator[np.ndarray]:
    """Yield the squared Euclidean distances of x to y, ``[rows, m]``, for ``rows`` rows of x at a time."""
    squares = (y**2).sum(1)
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        yield np.maximum((part**2).sum(1)[:, None] + squares - 2 * part @ y.T, 0)
