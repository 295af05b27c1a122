"""The fields of a DCGAN in a ConfigDict, and the method that they describe."""

from __future__ import annotations

from ml_collections import ConfigDict

from jaxgen.errors import UserError, check, names, pick
from jaxgen.gan import augment, losses
from jaxgen.methods.config_sections import options_from
from jaxgen.methods.dcgan.method import DCGAN
from jaxgen.methods.dcgan_options import DCGANNetworkOptions, DCGANOptimizerOptions, GANOptions
from jaxgen.models.dcgan import num_levels


def fields(c: ConfigDict) -> None:
    """Add the fields of a DCGAN to a config, with the values of the PyTorch tutorial."""
    c.model = ConfigDict()
    c.model.conditional = False  # give the class label to both networks as an input
    c.model.base_channels = 64  # channels of the largest feature maps; doubled where the side halves
    c.model.latent_size = 100  # number of random numbers from which an image is generated
    c.model.batch_norm = True  # batch normalisation in the discriminator
    c.model.spectral_norm = False  # spectral normalisation in the discriminator
    c.model.dtype = 'float32'  # precision of the computation: float32 or bfloat16

    c.gan = ConfigDict()
    c.gan.loss = 'non_saturating'  # the tutorial's binary cross entropy; or hinge
    c.gan.discriminator_steps = 1  # steps of the discriminator to one of the generator; they share the batch
    c.gan.discriminator_learning_rate = 0.0  # 0 takes optimizer.learning_rate
    c.gan.r1_gamma = 0.0  # weight of the R1 gradient penalty; 0 for no penalty
    c.gan.augment = ''  # augmentations of what the discriminator sees, as in color,translation,cutout; empty for none
    c.gan.diffusion_noise = False  # add the noise of Diffusion-GAN
    c.gan.diffusion_std = 0.05  # standard deviation of that noise
    c.gan.diffusion_target = 0.6  # mean sign of the logits of real images to which its strength adapts
    c.gan.diffusion_images = 100_000  # number of images over which its strength can rise from 0 to 1

    c.optimizer.learning_rate = 2e-4
    c.optimizer.beta1 = 0.5
    c.optimizer.warmup_steps = 0
    c.optimizer.grad_clip_norm = 0.0
    c.optimizer.ema_decay = 0.999


def check_fields(c: ConfigDict, image_size: int) -> None:
    """Refuse a config that no DCGAN can have.

    Raises:
      UserError: one sentence naming the field.
    """
    try:
        num_levels(image_size)
    except ValueError as e:
        raise UserError(f'config.data.image_size: {e}') from e
    pick(c.gan.loss, losses.LOSSES, 'config.gan.loss')
    for name in names(c.gan.augment):
        pick(name, augment.AUGMENTATIONS, 'config.gan.augment:')
    for field in ('r1_gamma', 'discriminator_learning_rate', 'diffusion_std'):
        check(c.gan[field] >= 0, f'config.gan.{field}={c.gan[field]} must not be negative')
    check(
        -1 <= c.gan.diffusion_target <= 1,
        f'config.gan.diffusion_target={c.gan.diffusion_target} must lie between -1 and 1',
    )
    check(
        not c.gan.diffusion_noise or c.model.base_channels >= 4,
        f'config.model.base_channels={c.model.base_channels} must be at least 4 with config.gan.diffusion_noise, whose '
        f'timestep has an embedding of that width',
    )
    check(
        c.train.grad_accumulation == 1,
        f'config.train.grad_accumulation={c.train.grad_accumulation} must be 1 for DCGAN: its batch normalisation needs the '
        f'statistics of the whole batch',
    )
    check(
        c.data.batch_size % c.gan.discriminator_steps == 0 and c.data.batch_size > c.gan.discriminator_steps,
        f'config.data.batch_size={c.data.batch_size} does not divide into batches of more than one image for '
        f'config.gan.discriminator_steps={c.gan.discriminator_steps}',
    )


def from_config(c: ConfigDict, image_shape: tuple[int, int, int], num_classes: int) -> DCGAN:
    """Return the DCGAN that a config describes."""
    return DCGAN.from_options(
        options_from(DCGANNetworkOptions, c.model),
        options_from(GANOptions, c.gan),
        options_from(DCGANOptimizerOptions, c.optimizer).resolved(c.train.steps),
        image_shape=image_shape,
        num_classes=num_classes,
    )
