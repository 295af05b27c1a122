"""The state of a GAN, and the update of one of its networks."""

from __future__ import annotations

from collections.abc import Mapping

import flax.struct
import optax

from jaxgen.types import Array, PyTree, Struct

# Checkpoints contain the names of these fields: renaming one makes old checkpoints unreadable.


@flax.struct.dataclass
class NetworkState(Struct):
    """The state of one of the two networks.

    Attributes:
      params: parameters of the network.
      stats: the collections that a forward pass changes: running statistics, singular vectors.
      opt_state: state of the optimizer.
    """

    params: PyTree
    stats: PyTree
    opt_state: PyTree

    @property
    def variables(self) -> dict[str, PyTree]:
        """The parameters and the statistics, in the form that the network's ``apply`` expects."""
        return {'params': self.params, **self.stats}


@flax.struct.dataclass
class GANState(Struct):
    """The state of both networks, the moving average of the generator's parameters, and the number of updates.

    Attributes:
      noise: for Diffusion-GAN, the ``strength`` of the noise, and the sum of the mean ``signs`` since the strength was last
        adapted; otherwise empty.
    """

    generator: NetworkState
    discriminator: NetworkState
    ema: PyTree
    updates: Array
    noise: dict[str, Array]


def init_network(variables: Mapping[str, PyTree], optimizer: optax.GradientTransformation) -> NetworkState:
    """Return the state of a network before the first step.

    Args:
      variables: its parameters and statistics, as the network's ``init`` returns them.
      optimizer: its optimizer.
    """
    stats = dict(variables)
    params = stats.pop('params')
    return NetworkState(params, stats, optimizer.init(params))


def apply_gradients(optimizer: optax.GradientTransformation, state: NetworkState, grads: PyTree) -> NetworkState:
    """Return the state of a network after one update of its parameters."""
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    return state.replace(params=optax.apply_updates(state.params, updates), opt_state=opt_state)
