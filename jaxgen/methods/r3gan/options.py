"""The options of an R3GAN: the sections ``model``, ``gan`` and ``optimizer``."""

from __future__ import annotations

import dataclasses

from jaxgen.gan.augment import AUGMENTATIONS
from jaxgen.methods.options import DTYPES
from jaxgen.models.r3gan import EXPANSION, stage_channels
from jaxgen.optim.options import OptimizerOptions
from jaxgen.schema import OptionError, Options, option, require, with_default


@dataclasses.dataclass(frozen=True, kw_only=True)
class R3GANNetworkOptions(Options):
    """Generator and discriminator, with the values of the paper for CIFAR-10."""

    conditional: bool = option(False, 'give the class label to both networks as an input')
    channels: tuple[int, ...] = option(
        (768, 768, 768, 768),
        'channels at feature maps of 4, 8, 16 ... pixels; each further size has half the channels of the one before, and values '
        'for sizes above the image are ignored',
        at_least=1,
        at_most=8192,
    )
    num_blocks: int = option(2, 'residual blocks at each size', at_least=1, at_most=100)
    group_size: int = option(
        16, 'channels in a group of the 3x3 convolutions; must divide twice the channels at each size', at_least=1
    )
    latent_size: int = option(
        64, 'number of random numbers from which an image is generated', at_least=1, at_most=100_000
    )
    dtype: str = option(
        'float32', 'precision of the computation above 4x4 pixels; parameters are float32', choices=DTYPES
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class R3GANOptions(Options):
    """The penalties of the discriminator, and the augmentations."""

    gamma: float = option(
        0.05, 'weight of the gradient penalties R1 and R2 at the start of training', above=0, at_most=1e6
    )
    final_gamma: float | None = option(
        None,
        'weight to which gamma falls along half a cosine by burn_in_steps; gamma is constant if not set',
        above=0,
        at_most=1e6,
    )
    burn_in_steps: int | None = option(
        None, 'step from which final_gamma is the weight; gamma is constant if not set', at_least=1
    )
    augment: tuple[str, ...] | None = option(
        None,
        'augmentations of all images that the discriminator sees, in this order; none if not set',
        choices=lambda: AUGMENTATIONS,
    )

    def check(self) -> None:
        """Refuse final_gamma without burn_in_steps, and burn_in_steps without final_gamma."""
        require(
            (self.final_gamma is None) == (self.burn_in_steps is None),
            'burn_in_steps',
            f'={self.burn_in_steps} does not go with final_gamma={self.final_gamma}: set both, or neither',
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class R3GANOptimizerOptions(OptimizerOptions):
    """Adam without momentum."""

    beta1: float = with_default(OptimizerOptions, 'beta1', 0.0)
    beta2: float = with_default(OptimizerOptions, 'beta2', 0.99)


def require_networks(model: R3GANNetworkOptions, image_size: int) -> None:
    """Refuse an image size or channels for which the networks cannot be built.

    Args:
      model: options of the networks.
      image_size: side of the images in pixels.

    Raises:
      OptionError: naming the section and the field.
    """
    try:
        widths = stage_channels(image_size, model.channels)
    except ValueError as e:
        raise OptionError('data.image_size', f': {e}') from e
    wrong = [width for width in widths if not width or EXPANSION * width % model.group_size]
    stages = ','.join(map(str, widths))
    require(
        not wrong,
        'model.group_size',
        f'={model.group_size} must divide {EXPANSION} times the channels at each size from 4x4 pixels to the image, here '
        f'{stages}: change it or model.channels',
    )
