"""Make the method that a config describes, without a trained model and without data."""

from __future__ import annotations

from jaxgen import methods
from jaxgen.apps import data
from jaxgen.apps.config import Config
from jaxgen.methods.base import Method


def build(config: Config) -> tuple[Method, tuple[str, ...]]:
    """Return the method of a config and the names of its classes; the data need not have been downloaded."""
    known = data.facts(config)
    return build_method(config, known.image_shape, len(known.class_names)), known.class_names


def build_method(config: Config, image_shape: tuple[int, int, int], num_classes: int) -> Method:
    """Return the method of a config for images and classes other than those of its data; see ``methods.build``."""
    return methods.build(config.method, config.sections, image_shape, num_classes)
