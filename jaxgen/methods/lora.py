"""Fine-tuning of a diffusion model: an update of its frozen parameters, as low-rank factors or of full size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.struct
import numpy as np

from jaxgen.errors import UserError
from jaxgen.methods.base import State
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.methods.diffusion.state import DiffusionState
from jaxgen.models import lora
from jaxgen.types import Array, JsonObject, PyTree, Struct


@flax.struct.dataclass
class FineTunedState(Struct):
    """The frozen parameters of the base, and the state of a diffusion model whose parameters are the factors.

    Checkpoints contain the names of these fields.
    """

    base: PyTree
    learner: DiffusionState


@dataclasses.dataclass(frozen=True)
class FineTunedDiffusion(Diffusion):
    """A diffusion model whose parameters are ``lora.merge(base, factors)``.

    The gradients, the optimizer and the moving average concern the factors only. A checkpoint does not contain the base.

    Attributes:
      base: the frozen parameters, on the host, with a row of the label table for each class of this model.
      base_hash: hash of the weights with which the base samples.
      paths: the parameters that are adapted, by their path in the tree (see ``models.lora``).
      rank: rank of their factors; 0 for updates of full size.
      strength: alpha / rank.
      scale: multiple of the updates in sampling, from 0 to 1; training uses 1.
    """

    base: PyTree = None
    base_hash: str = ''
    paths: tuple[str, ...] = ()
    rank: int = 0
    strength: float = 1.0
    scale: float = 1.0

    @classmethod
    def from_method(cls, method: Diffusion, **fields: Any) -> FineTunedDiffusion:
        """Return the fine-tuned counterpart of a method.

        Args:
          method: its network has the structure of the base.
          fields: values of the attributes that this class adds.
        """
        return cls(**{f.name: getattr(method, f.name) for f in dataclasses.fields(Diffusion)}, **fields)

    def init(self, key: Array) -> DiffusionState:
        """Return the trainable state before the first step, with random parameters."""
        return self.initial_state(lora.init(key, self.base, self.paths, self.rank))

    def trainable(self, state: FineTunedState) -> DiffusionState:
        """Return the state of the factors."""
        return state.learner

    def with_frozen(self, trainable: DiffusionState) -> FineTunedState:
        """Return the state of the factors joined with the base."""
        return FineTunedState(self.base, trainable)

    def networks(self, state: State) -> dict[str, PyTree]:
        """Return the parameters of each network by its name."""
        return {'adapter': state.learner.params, type(self.network).__name__.lower(): state.base}

    def moving_averages(self, state: State) -> dict[float, PyTree]:
        """Return the power-function averages of the parameters by their relative length."""
        return super().moving_averages(state.learner)

    def step(self, state: State, batch: dict[str, Array], key: Array) -> tuple[State, dict[str, Array]]:
        """Make one update of the parameters, see ``Method.step``."""

        def merged(factors: PyTree) -> PyTree:
            return lora.merge(state.base, factors, self.strength)

        learner, metrics = self.update(state.learner, batch, key, merged)
        return state.replace(learner=learner), metrics

    def sampling_variables(self, state: State, key: Array, ema: bool) -> PyTree:
        """Return the variables of the network after training, see ``Method.sampling_variables``."""
        factors = state.learner.ema if ema else state.learner.params
        return self._with_guide({'params': lora.merge(state.base, factors, self.strength, self.scale)})

    def from_weights(self, weights: dict[str, PyTree], key: Array) -> DiffusionState:
        """Refuse: merged weights do not say which part of them is the base.

        Raises:
          UserError: always.
        """
        raise UserError('merged weights are no fine-tuned model: fine-tune them as a base instead')

    def sampling_protocol(self) -> JsonObject:
        """Return a description of how ``sample`` generates an image, as JSON values."""
        return super().sampling_protocol() | {'base': self.base_hash, 'adapter_scale': self.scale}


def with_new_labels(params: Mapping[str, PyTree], known: int, new: int) -> Mapping[str, PyTree]:
    """Return the parameters of a network with ``new`` more classes after the ``known`` ones.

    The known rows of the label table keep their meaning, and the new rows come after them. If the table has a last row that
    stands for no class, it stays the last, and the new rows start as copies of it; otherwise they start as the mean of all
    rows.

    Args:
      params: parameters of the network; without a label table they are returned as they are.
      known: number of classes that the network was trained on.
      new: number of classes to add.
    """
    if not new or 'label' not in params:
        return params
    table = np.asarray(params['label']['embedding'])
    start = table[known:] if len(table) > known else table.mean(0, keepdims=True)
    extended = np.concatenate([table[:known], np.repeat(start, new, axis=0), table[known:]])
    return {**params, 'label': {'embedding': extended}}
