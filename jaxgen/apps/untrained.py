"""The method that a config describes, without a trained model and without its data."""

from __future__ import annotations

from ml_collections import ConfigDict

from jaxgen import methods
from jaxgen.data import SOURCES, class_names
from jaxgen.errors import names
from jaxgen.methods.base import Method


def build(config: ConfigDict) -> tuple[Method, tuple[str, ...]]:
    """Return the method of a config and the names of its classes; the data need not have been downloaded."""
    source = SOURCES[config.data.name]
    side = config.data.image_size or source.image_size
    classes = class_names(config.data.name, names(config.data.classes))
    return methods.build(config, (side, side, source.channels), len(classes)), classes
