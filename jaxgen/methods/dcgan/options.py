"""The options of a DCGAN: the sections ``model``, ``gan`` and ``optimizer``."""

from __future__ import annotations

import dataclasses

from jaxgen.gan.augment import AUGMENTATIONS
from jaxgen.gan.losses import LOSSES
from jaxgen.methods.options import DTYPES
from jaxgen.models.dcgan import num_levels
from jaxgen.optim.options import OptimizerOptions
from jaxgen.schema import OptionError, Options, option, require, with_default


@dataclasses.dataclass(frozen=True, kw_only=True)
class DCGANNetworkOptions(Options):
    """Generator and discriminator, with the values of the PyTorch tutorial."""

    conditional: bool = option(False, 'give the class label to both networks as an input')
    base_channels: int = option(
        64, 'channels of the largest feature maps; their number doubles where the side halves', at_least=1, at_most=8192
    )
    latent_size: int = option(
        100, 'number of random numbers from which an image is generated', at_least=1, at_most=100_000
    )
    batch_norm: bool = option(True, 'batch normalisation in the discriminator')
    spectral_norm: bool = option(False, 'spectral normalisation in the discriminator')
    dtype: str = option('float32', 'precision of the computation; parameters are float32', choices=DTYPES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GANOptions(Options):
    """The loss of both networks, and options that stabilise their training."""

    loss: str = option(
        'non_saturating',
        "loss of both networks; non_saturating is the tutorial's cross entropy",
        choices=lambda: LOSSES,
    )
    discriminator_steps: int = option(
        1, 'steps of the discriminator for each step of the generator; they share the batch', at_least=1
    )
    discriminator_learning_rate: float | None = option(
        None,
        'learning rate of the discriminator at its peak; optimizer.learning_rate if not set',
        above=0,
        at_most=1000,
    )
    r1_gamma: float | None = option(
        None, 'weight of the R1 gradient penalty; no penalty if not set', above=0, at_most=1e6
    )
    augment: tuple[str, ...] | None = option(
        None,
        'augmentations of all images that the discriminator sees, in this order; none if not set',
        choices=lambda: AUGMENTATIONS,
    )
    diffusion_noise: bool = option(False, 'add the noise of Diffusion-GAN to all images that the discriminator sees')
    diffusion_std: float = option(0.05, 'standard deviation of the noise of Diffusion-GAN', at_least=0, at_most=1000)
    diffusion_target: float = option(
        0.6,
        'mean sign of the logits of real images at which the strength of the noise of Diffusion-GAN settles',
        at_least=-1,
        at_most=1,
    )
    diffusion_images: int = option(
        100_000, 'number of images in which the strength of the noise of Diffusion-GAN can rise from 0 to 1', at_least=1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DCGANOptimizerOptions(OptimizerOptions):
    """The optimizer of the PyTorch tutorial."""

    beta1: float = with_default(OptimizerOptions, 'beta1', 0.5)
    ema_decay: float | None = with_default(OptimizerOptions, 'ema_decay', 0.999)


def require_together(model: DCGANNetworkOptions, gan: GANOptions, batch_size: int, image_size: int) -> None:
    """Refuse options of different sections that do not go together.

    Args:
      model: options of the networks.
      gan: losses and regularisers.
      batch_size: images in a training step.
      image_size: side of the images in pixels.

    Raises:
      OptionError: naming the section and the field.
    """
    try:
        num_levels(image_size)
    except ValueError as e:
        raise OptionError('data.image_size', f': {e}') from e
    require(
        not gan.diffusion_noise or model.base_channels >= 4,
        'model.base_channels',
        f'={model.base_channels} must be at least 4 with gan.diffusion_noise=True, whose timestep embedding is that wide',
    )
    require(
        batch_size % gan.discriminator_steps == 0 and batch_size > gan.discriminator_steps,
        'data.batch_size',
        f'={batch_size} does not divide into batches of two or more images for '
        f'gan.discriminator_steps={gan.discriminator_steps}',
    )
