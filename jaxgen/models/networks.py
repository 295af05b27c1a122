"""The registry of networks for diffusion models."""

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
    """Make the network with the name ``options.name``; it takes those options that it has as fields.

    Args:
      options: the options of the network, with ``name`` and ``dtype``, such as ``methods.diffusion.options.NetworkOptions``.
      **fields: fields of the network that are not among the options.

    Returns:
      The linen module, without parameters.

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
