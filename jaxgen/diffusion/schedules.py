"""Noise schedules: float64 NumPy tables over the discrete timesteps 0 .. T-1, and their registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Tables of a variance-preserving forward process q(x_t | x_0) = N(sqrt(alphas_cumprod) x_0, 1 - alphas_cumprod).

    Attributes:
      betas: ``[T]`` float64, the variance added at each timestep (Ho et al. 2020, equation 2).
    """

    betas: np.ndarray

    def __post_init__(self):
        betas = np.asarray(self.betas, np.float64)
        if betas.ndim != 1 or not np.all((betas > 0) & (betas < 1)):
            raise ValueError('betas must be a vector of numbers between 0 and 1')
        object.__setattr__(self, 'betas', betas)

    @property
    def timesteps(self) -> int:
        return len(self.betas)

    @property
    def alphas_cumprod(self) -> np.ndarray:
        """``[T]`` float64, the cumulative product of 1 - betas."""
        return np.cumprod(1.0 - self.betas)


def linear(timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """betas from ``beta_start`` to ``beta_end`` in equal steps (Ho et al. 2020, section 4, at 1,000 timesteps)."""
    return Schedule(np.linspace(beta_start, beta_end, timesteps, dtype=np.float64))


SCHEDULES: dict[str, Callable[..., Schedule]] = {'linear': linear}
