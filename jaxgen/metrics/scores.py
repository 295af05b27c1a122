"""Figures of merit from features: arrays in, numbers out, all in float64 on the host.

``fake`` and ``real`` are features ``[N, D]`` of generated and of reference images.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Iterator

import numpy as np


@dataclasses.dataclass(frozen=True)
class Moments:
    """Count, mean ``[D]`` and scatter ``[D, D]`` (sum of squares about the mean) of features seen so far, in float64."""

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        x = np.asarray(features, np.float64)
        mean = x.mean(0)
        centred = x - mean
        return cls(len(x), mean, centred.T @ centred)

    def __add__(self, other: Moments) -> Moments:
        """Moments of both parts together (Chan et al. 1979)."""
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = np.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    @classmethod
    def streamed(cls, features: np.ndarray, rows: int = 1000) -> Moments:
        """The same as ``of``, so many rows at a time: nothing of the size of ``features`` is made in float64."""
        parts = (cls.of(features[i : i + rows]) for i in range(0, len(features), rows))
        return functools.reduce(operator.add, parts)

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased (n - 1)."""
        return self.scatter / (self.count - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))`` (Heusel et al. 2017, equation 6).

    The eigenvalues of C_a C_b are those of the symmetric ``C_a^(1/2) C_b C_a^(1/2)``; their roots sum to the trace.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ b.covariance @ root)
    cross = np.sqrt(np.maximum(product, 0)).sum()
    apart = a.mean - b.mean
    return float(apart @ apart + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross)


def frechet_distance_of_few(a: np.ndarray, b: np.ndarray) -> float:
    """``frechet_distance`` of features ``[N, D]`` and ``[M, D]``, quickly where N or M is far below D.

    With A and B the centred features over ``sqrt(n - 1)``, the eigenvalues of ``C_a C_b`` are the squared singular values
    of the N x M matrix ``A B^T``.
    """
    (x, mean_x), (y, mean_y) = ((f - f.mean(0), f.mean(0)) for f in (np.asarray(f, np.float64) for f in (a, b)))
    x, y = x / np.sqrt(len(x) - 1), y / np.sqrt(len(y) - 1)
    cross = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    apart = mean_x - mean_y
    return float(apart @ apart + (x**2).sum() + (y**2).sum() - 2 * cross)


def kernel_distance(
    fake: np.ndarray, real: np.ndarray, subsets: int = 100, subset_size: int = 1000, seed: int = 2020
) -> tuple[float, float | None]:
    """KID (Binkowski et al. 2018): mean and standard deviation over random subsets of the unbiased squared MMD.

    The kernel is ``(x y / D + 1)^3``; the subsets are torch-fidelity's for the same seed. Where a set is smaller than
    ``subset_size`` they are of its size; where both are those subsets, there is one distance, and no deviation.
    """
    size = min(subset_size, len(fake), len(real))
    rng = np.random.RandomState(seed)
    fake, real = np.asarray(fake, np.float64), np.asarray(real, np.float64)
    whole = size == len(fake) == len(real)
    distances = []
    for _ in range(1 if whole else subsets):
        x = fake[rng.choice(len(fake), size, replace=False)]
        y = real[rng.choice(len(real), size, replace=False)]
        kernels = (u @ v.T / u.shape[1] + 1 for u, v in ((x, x), (y, y), (x, y)))
        xx, yy, xy = (k * k * k for k in kernels)  # NumPy's power is slow
        within = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (size * (size - 1))
        distances.append(within - 2 * xy.mean())
    return float(np.mean(distances)), None if whole else float(np.std(distances))


def inception_score(logits: np.ndarray, splits: int = 10, seed: int = 2020) -> tuple[float, float]:
    """``exp E KL(p(y|x) | p(y))`` (Salimans et al. 2016): mean and standard deviation over splits of a shuffled set."""
    logits = np.asarray(logits, np.float64)[np.random.RandomState(seed).permutation(len(logits))]
    log_p = logits - logits.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    p = np.exp(log_p)
    scores = []
    for i in range(splits):
        part = slice(i * len(p) // splits, (i + 1) * len(p) // splits)
        marginal = p[part].mean(0, keepdims=True)
        scores.append(np.exp((p[part] * (log_p[part] - np.log(marginal))).sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def precision_recall(fake: np.ndarray, real: np.ndarray, neighbours: int = 3) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019): the share of each set that lies within the other's
    manifold, the union of balls around its points that reach to their k-th nearest neighbour."""
    fake, real = np.asarray(fake, np.float64), np.asarray(real, np.float64)
    return _share_within(fake, real, neighbours), _share_within(real, fake, neighbours)


def _share_within(points: np.ndarray, manifold: np.ndarray, neighbours: int) -> float:
    radii = np.concatenate([np.partition(d, neighbours, axis=1)[:, neighbours] for d in _distances(manifold, manifold)])
    return float(np.concatenate([(d <= radii).any(1) for d in _distances(points, manifold)]).mean())


def _distances(x: np.ndarray, y: np.ndarray, rows: int = 1000) -> Iterator[np.ndarray]:
    """Squared Euclidean distances, so many rows of x at a time."""
    squares = (y**2).sum(1)
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        yield np.maximum((part**2).sum(1)[:, None] + squares - 2 * part @ y.T, 0)
