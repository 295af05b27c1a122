"""An imported model, with the config that describes it."""

from __future__ import annotations

import dataclasses

from jaxgen.apps import data
from jaxgen.apps.config import Config
from jaxgen.errors import check
from jaxgen.methods.base import Method
from jaxgen.types import PyTree


@dataclasses.dataclass(frozen=True)
class Imported:
    """An imported model, from which a run directory is made.

    Attributes:
      config: the config that describes the model.
      method: the method that the config describes.
      model: the trainable state before the first step.
      notes: sentences for the user about the import.
    """

    config: Config
    method: Method
    model: PyTree
    notes: tuple[str, ...]


def with_image_size(config: Config, side: int, channels: int, where: object) -> Config:
    """Return a config whose images have the size of the model's images.

    Args:
      config: the config of the command.
      side: side of the model's images, in pixels.
      channels: channels of the model's images.
      where: the file and the field that give the channels, for the message.

    Raises:
      UserError: if the data set of the config has another number of channels.
    """
    known = data.facts(config)
    check(
        channels == known.channels,
        f'{where}={channels}, but the images of config.data.name={config.data.name} have {known.channels}: choose '
        f'another --config',
    )
    if known.image_size == side:
        return config
    return config.replace({'data.image_size': side})
