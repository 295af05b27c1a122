"""The arguments that the library takes, from the config of the whole program."""

from __future__ import annotations

from collections.abc import Sequence

from jaxgen.apps.config import Config
from jaxgen.training.sampling import chosen_classes


def classes_to_sample(config: Config, class_names: Sequence[str]) -> tuple[int, ...]:
    """Return the labels that images have in turn: of the classes asked for, or those trained on, or all of the model."""
    return chosen_classes(class_names, config.sample.classes, config.data.classes)
