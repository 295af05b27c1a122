"""Precision and recall of generated images, from the manifolds that two sets of features span."""

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
      neighbours: k.

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


def _share_within(points: np.ndarray, manifold: np.ndarray, neighbours: int) -> float:
    radii = np.concatenate([np.partition(d, neighbours, axis=1)[:, neighbours] for d in _distances(manifold, manifold)])
    return float(np.concatenate([(d <= radii).any(1) for d in _distances(points, manifold)]).mean())


def _distances(x: np.ndarray, y: np.ndarray, rows: int = 1000) -> Iterator[np.ndarray]:
    """Yield squared Euclidean distances ``[rows, m]``, for so many rows of x at a time."""
    squares = (y**2).sum(1)
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        yield np.maximum((part**2).sum(1)[:, None] + squares - 2 * part @ y.T, 0)
