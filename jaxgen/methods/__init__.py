"""Model families: each puts networks, mathematics and optimiser together behind the trainer's interface."""

from __future__ import annotations

from ml_collections import ConfigDict

from jaxgen.methods.base import Family
from jaxgen.methods.classifier import Judge
from jaxgen.methods.dcgan import DCGAN
from jaxgen.methods.diffusion.method import Diffusion

FAMILIES = {'ddpm': Diffusion, 'dcgan': DCGAN, 'judge': Judge}


def build(config: ConfigDict, image_shape: tuple[int, int, int], num_classes: int) -> Family:
    """The family that ``config.family`` names, for images of this shape and labels below ``num_classes``."""
    return FAMILIES[config.family].from_config(config, image_shape, num_classes)
