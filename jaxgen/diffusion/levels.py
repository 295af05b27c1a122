"""Noise levels, and the interface of the schedules that define them."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgen.types import Array

Numbers = Any  # a NumPy or JAX array


class Level(NamedTuple):
    """A noise level, or several: NumPy or JAX arrays of one shape.

    Attributes:
      alpha: factor of the image in x = alpha x_0 + sigma noise.
      sigma: factor of the noise.
      t: the time that the network takes as its input.

    Example:
      >>> from jaxgen import diffusion
      >>> levels = diffusion.FlowSchedule().levels(4)
      >>> diffusion.Level(*(array[1] for array in levels)).sigma.item()
      0.75
    """

    alpha: Numbers
    sigma: Numbers
    t: Numbers

    def broadcast_to(self, x: Float[Array, 'n ...']) -> Level:
        """Return the level with ``alpha`` and ``sigma`` in the dtype of ``x``, shaped to broadcast against it.

        ``t`` keeps its shape, in float32 or a wider dtype.
        """
        shape = np.shape(self.alpha) + (1,) * (x.ndim - np.ndim(self.alpha))
        alpha, sigma = (jnp.asarray(a, x.dtype).reshape(shape) for a in self[:2])
        return Level(alpha, sigma, jnp.asarray(self.t, jnp.promote_types(x.dtype, jnp.float32)))


@runtime_checkable
class Schedule(Protocol):
    """The interface of all schedules."""

    def sample_levels(self, key: Array, num: int) -> Level:
        """Sample ``num`` noise levels for training, each from the distribution of the schedule: arrays ``[num]``."""

    def levels(self, num_steps: int) -> Level:
        """Return the levels that a sampler of ``num_steps`` steps visits, from noise to data: arrays ``[num_steps + 1]``."""

    def at(self, ratio: Numbers) -> Level:
        """Return the levels at which sigma / alpha is ``ratio``; a table is interpolated between its timesteps."""
