"""The training methods, each of which joins networks, mathematics and an optimizer behind one abstract class."""

from __future__ import annotations

from jaxgen.methods.base import Capabilities, Method
from jaxgen.methods.classifier import ClassifierMethod
from jaxgen.methods.dcgan import DCGAN
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.methods.r3gan import R3GAN
from jaxgen.schema import Sections

__all__ = ['METHODS', 'Capabilities', 'ClassifierMethod', 'DCGAN', 'Diffusion', 'Method', 'R3GAN', 'build']

METHODS: dict[str, type[Method]] = {'ddpm': Diffusion, 'dcgan': DCGAN, 'r3gan': R3GAN, 'judge': ClassifierMethod}


def build(name: str, sections: Sections, image_shape: tuple[int, int, int], num_classes: int) -> Method:
    """Make the method of this name from its options.

    Args:
      name: one of ``METHODS``.
      sections: see ``Method.from_sections``.
      image_shape: height, width and channels of the images.
      num_classes: number of classes; labels lie below it.

    Returns:
      The method, without parameters: ``method.init(key)`` makes its first state.

    Example:
      >>> import jaxgen
      >>> config = jaxgen.config.Config.from_tree({'family': 'dcgan'})
      >>> method = jaxgen.methods.build('dcgan', config.sections, image_shape=(64, 64, 3), num_classes=10)
      >>> method.generator.latent_size
      100
    """
    return METHODS[name].from_sections(sections, image_shape=image_shape, num_classes=num_classes)
