"""The interface through which a model family meets the trainer."""

from __future__ import annotations

from typing import Any, Protocol

import jax

Array = jax.Array
Model = Any  # a pytree of all that a family learns: parameters, moving averages, optimiser state


class Family(Protocol):
    """A model family: all methods are pure, and see the global batch whatever the devices.

    Attributes:
      image_shape: (height, width, channels).
    """

    image_shape: tuple[int, int, int]

    def init(self, key: Array) -> Model:
        """The model before the first step."""

    def networks(self, model: Model) -> dict[str, Any]:
        """The parameters of each network by name, to be counted."""

    def step(self, model: Model, batch: dict[str, Array], key: Array) -> tuple[Model, dict[str, Array]]:
        """One update on ``{'image': float [B, H, W, C] in [-1, 1], 'label': int32 [B]}``; metrics are scalars."""

    def sample(self, model: Model, keys: Array, labels: Array, ema: bool) -> Array:
        """Images float ``[N, H, W, C]`` in [-1, 1] for ``[N]`` keys and labels; image i depends on entry i alone."""
