"""The networks that a diffusion model can be, by name."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.models.cnn import CNN
from jaxgen.models.dit import DiT
from jaxgen.models.unet import UNet
from jaxgen.schema import Options

NETWORKS: dict[str, type[nn.Module]] = {'unet': UNet, 'cnn': CNN, 'dit': DiT}


def make_network(options: Options, **fields) -> nn.Module:
    """Return the network that ``options.name`` names, with those of the options that it has as fields.

    Args:
      options: with ``name`` and ``dtype``, as ``methods.diffusion.options.NetworkOptions`` has them.
      **fields: fields of the network that are not among the options.

    Returns:
      The module, without parameters.

    Example:
      >>> from jaxgen import models
      >>> from jaxgen.methods.diffusion.options import NetworkOptions
      >>> models.make_network(NetworkOptions(base_channels=32), num_classes=10, out_channels=3).base_channels
      32
    """
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    network = NETWORKS[values['name']]
    known = {name: value for name, value in values.items() if name in network.__dataclass_fields__}
    return network(**{**known, 'dtype': jnp.dtype(values['dtype']), 'name': None, **fields})
