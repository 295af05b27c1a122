"""A diffusion model that learns an update of another's frozen parameters: low-rank factors, or all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import numpy as np

from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.methods.diffusion.state import DiffusionState
from jaxgen.models import lora

Array = jax.Array


@flax.struct.dataclass
class Adapted:
    """The base's parameters, and the factors in the place of the network's parameters."""

    base: Any
    learner: DiffusionState


@dataclasses.dataclass(frozen=True)
class Finetuned(Diffusion):
    """A diffusion model whose parameters are ``lora.merge(base, factors)``.

    Gradients, their optimiser and the moving average are of the factors alone. A checkpoint holds no base.

    Attributes:
      base: its parameters, on the host, with a row of the label table for each class of this model.
      base_hash: of the weights that the base draws with.
      paths: of the parameters that are adapted, see ``lora``.
      rank: of their factors; 0 for updates of full size.
      strength: alpha / rank.
      scale: of the updates in sampling, 0 to 1; training has 1.
    """

    base: Any = None
    base_hash: str = ''
    paths: tuple[str, ...] = ()
    rank: int = 0
    strength: float = 1.0
    scale: float = 1.0

    @classmethod
    def of(cls, family: Diffusion, **fields: Any) -> Finetuned:
        """The family of a network of the base's kind, fine-tuned."""
        return cls(**{f.name: getattr(family, f.name) for f in dataclasses.fields(Diffusion)}, **fields)

    def init(self, key: Array) -> DiffusionState:
        return self.initial_state(lora.init(key, self.base, self.paths, self.rank))

    def learnt(self, model: Adapted) -> DiffusionState:
        return model.learner

    def whole(self, learnt: DiffusionState) -> Adapted:
        return Adapted(self.base, learnt)

    def networks(self, model: Adapted) -> dict[str, Any]:
        return {'adapter': model.learner.params, type(self.network).__name__.lower(): model.base}

    def averages(self, model: Adapted) -> dict[float, Any]:
        return super().averages(model.learner)

    def step(self, model: Adapted, batch: dict[str, Array], key: Array) -> tuple[Adapted, dict[str, Array]]:
        def parameters(factors: Any) -> Any:
            return lora.merge(model.base, factors, self.strength)

        learner, metrics = self.update(model.learner, batch, key, parameters)
        return model.replace(learner=learner), metrics

    def sampling_variables(self, model: Adapted, key: Array, ema: bool) -> Any:
        factors = model.learner.ema if ema else model.learner.params
        return {'params': lora.merge(model.base, factors, self.strength, self.scale)}

    def sampling_protocol(self) -> dict[str, Any]:
        return super().sampling_protocol() | {'base': self.base_hash, 'adapter_scale': self.scale}


def with_new_labels(params: Mapping[str, Any], known: int, new: int) -> Mapping[str, Any]:
    """The parameters of a network that knows ``new`` classes after the ``known`` ones.

    The rows of the label table keep their meaning. A new one comes after them and starts as the row that stands for no
    class, which stays the last, or where there is none as the mean of the known ones.
    """
    if not new or 'label' not in params:
        return params
    table = np.asarray(params['label']['embedding'])
    start = table[known:] if len(table) > known else table.mean(0, keepdims=True)
    extended = np.concatenate([table[:known], np.repeat(start, new, axis=0), table[known:]])
    return {**params, 'label': {'embedding': extended}}
