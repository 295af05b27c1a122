"""The networks that a diffusion model can be, by name."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxgen.models.cnn import CNN
from jaxgen.models.dit import DiT
from jaxgen.models.unet import UNet

NETWORKS: dict[str, type[nn.Module]] = {'unet': UNet, 'cnn': CNN, 'dit': DiT}


def make_network(model: ConfigDict, **fields) -> nn.Module:
    """Of ``config.model``, from which each network takes the fields that it has; ``fields`` come from elsewhere."""
    network = NETWORKS[model.name]
    own = {name: value for name, value in model.to_dict().items() if name in network.__dataclass_fields__}
    return network(**{**own, 'dtype': jnp.dtype(model.dtype), 'name': None, **fields})
