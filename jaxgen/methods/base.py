"""The interface through which a model family meets the trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import jax

from jaxgen.schema import Options

Array = jax.Array
Model = Any  # a pytree of all that a family learns: parameters, moving averages, optimiser state


class Family(Protocol):
    """A model family: all methods are pure, and see the global batch whatever the devices.

    Attributes:
      image_shape: (height, width, channels).
      metrics: the names of those that ``step`` gives.
      draws: whether it draws images; if not, ``sample`` raises UserError, and training makes no grids.
      sections: the options of the method by the name of their section; ``model`` is one of them, and a name that all
        methods share (``data``, ``optimizer``, ``sample`` ...) stands for the method's own class in its place.
      defaults: the method's defaults in other sections that all methods share, by section and field.
    """

    image_shape: tuple[int, int, int]
    metrics: tuple[str, ...]
    draws: ClassVar[bool]
    sections: ClassVar[Mapping[str, type[Options]]]
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @staticmethod
    def check_options(options: Mapping[str, Any], image_size: int) -> None:
        """Refuse options of different sections that do not go together. The default accepts all.

        Args:
          options: the options of a run by the name of their section.
          image_size: side of the images in pixels.

        Raises:
          UserError: or OptionError, which names the section and the field.
        """

    def init(self, key: Array) -> Model:
        """The model before the first step, as ``learnt`` gives it."""

    def learnt(self, model: Model) -> Model:
        """What of the model a checkpoint holds: all but what the family got from elsewhere, which no step changes."""
        return model

    def whole(self, learnt: Model) -> Model:
        """The model again, as the other methods take it."""
        return learnt

    def networks(self, model: Model) -> dict[str, Any]:
        """The parameters of each network by name, to be counted."""

    def averages(self, model: Model) -> dict[float, Any]:
        """Those of which snapshots are kept, by length: see ``power_ema``; what a checkpoint
        holds of a model with some has one more as ``ema``."""
        return {}

    def step(self, model: Model, batch: dict[str, Array], key: Array) -> tuple[Model, dict[str, Array]]:
        """One update on ``{'image': float [B, H, W, C] in [-1, 1], 'label': int32 [B]}``; metrics are scalars."""

    def augment(self, images: Array, key: Array) -> Array:
        """Real images as the networks see them in training, for ``--mode=data``: float ``[B, H, W, C]``, as in ``step``."""

    def sampling_variables(self, model: Model, key: Array, ema: bool) -> Any:
        """What ``sample`` needs of the model, or of its moving average: computed once, used for any number of images."""

    def weights(self, model: Model, key: Array, ema: bool) -> dict[str, Any]:
        """What the networks learnt, without what only training needs: that of ``sampling_variables``, and any other's."""

    def started(self, weights: dict[str, Any], key: Array) -> Model:
        """The model before the first step, with these ``weights``; a network that they lack is a new one."""

    def sample(self, variables: Any, keys: Array, labels: Array) -> Array:
        """Images float ``[N, H, W, C]`` in [-1, 1] for ``[N]`` keys and labels; image i depends on entry i alone."""

    def sampling_protocol(self) -> dict[str, Any]:
        """How ``sample`` draws an image: JSON values, ``network_calls`` among them."""
