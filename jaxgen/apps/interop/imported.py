"""A model from elsewhere with the config that makes it."""

from __future__ import annotations

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from jaxgen.data import SOURCES
from jaxgen.errors import check
from jaxgen.methods.base import Method


@dataclasses.dataclass(frozen=True)
class Imported:
    """What a workdir is made of.

    Attributes:
      notes: what its user should know, a sentence each.
    """

    config: ConfigDict
    method: Method
    model: Any
    notes: tuple[str, ...]


def data_fields(config: ConfigDict, side: int, channels: int, where: object) -> None:
    """Sets ``config.data.image_size`` to the side of the model's images, in pixels.

    Args:
      where: the file and the field that give the channels, for the message.

    Raises:
      UserError: if the data set of the config has another number of channels.
    """
    source = SOURCES[config.data.name]
    check(
        channels == source.channels,
        f'{where}={channels}, but the images of config.data.name={config.data.name} have {source.channels}: choose '
        f'another --config',
    )
    if (config.data.image_size or source.image_size) != side:
        config.data.image_size = side
