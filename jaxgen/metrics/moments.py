"""The mean and covariance of features, accumulated batch by batch in float64."""

from __future__ import annotations

import dataclasses
import functools
import operator

import numpy as np
from jaxtyping import Float, Float64


@dataclasses.dataclass(frozen=True)
class Moments:
    """A set of moments of features; ``+`` combines the moments of two sets of features.

    Attributes:
      count: number of feature vectors, n.
      mean: mean of the feature vectors.
      scatter: sum of the squares about the mean, ``sum_i (x_i - mean) (x_i - mean)^T``.
    """

    count: int
    mean: Float64[np.ndarray, ' d']
    scatter: Float64[np.ndarray, 'd d']

    @classmethod
    def of(cls, features: Float[np.ndarray, 'n d']) -> Moments:
        """Compute the moments of all features at once."""
        x = np.asarray(features, np.float64)
        mean = x.mean(0)
        centred = x - mean
        return cls(len(x), mean, centred.T @ centred)

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both sets together (Chan et al. 1979)."""
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = np.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    @classmethod
    def streamed(cls, features: Float[np.ndarray, 'n d'], rows: int = 1000) -> Moments:
        """Compute the moments of features, ``rows`` at a time, to avoid a float64 copy of all features."""
        parts = (cls.of(features[i : i + rows]) for i in range(0, len(features), rows))
        return functools.reduce(operator.add, parts)

    @property
    def covariance(self) -> Float64[np.ndarray, 'd d']:
        """The unbiased covariance, ``scatter / (n - 1)``."""
        return self.scatter / (self.count - 1)
