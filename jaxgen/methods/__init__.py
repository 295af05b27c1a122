"""Methods: each joins networks, mathematics and an optimizer behind one abstract class."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxgen.methods.base import Capabilities, Method
from jaxgen.methods.classifier import ClassifierMethod
from jaxgen.methods.classifier import config as classifier_config
from jaxgen.methods.dcgan import DCGAN
from jaxgen.methods.dcgan import config as dcgan_config
from jaxgen.methods.diffusion.method import Diffusion

METHODS = {'ddpm': Diffusion, 'dcgan': DCGAN, 'judge': ClassifierMethod}


class ConfigAdapter(NamedTuple):
    """How a method appears in a ConfigDict.

    Attributes:
      fields: adds the fields of the method, with their defaults, to a config.
      check: refuses a config that the method cannot have, for images of a given side.
      from_config: returns the method of a config, for a shape of images and a number of classes.
    """

    fields: Callable[[ConfigDict], None]
    check: Callable[[ConfigDict, int], None]
    from_config: Callable[[ConfigDict, tuple[int, int, int], int], Method]


CONFIGS = {
    'ddpm': ConfigAdapter(Diffusion.fields, Diffusion.check, Diffusion.from_config),
    'dcgan': ConfigAdapter(dcgan_config.fields, dcgan_config.check_fields, dcgan_config.from_config),
    'judge': ConfigAdapter(classifier_config.fields, classifier_config.check_fields, classifier_config.from_config),
}


def build(config: ConfigDict, image_shape: tuple[int, int, int], num_classes: int) -> Method:
    """Return the method that ``config.family`` names.

    Args:
      image_shape: height, width and channels of the images.
      num_classes: number of classes; labels lie below it.
    """
    return CONFIGS[config.family].from_config(config, image_shape, num_classes)
