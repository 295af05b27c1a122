"""The networks, as Flax linen modules.

Example:
  >>> import jax, jax.numpy as jnp
  >>> from jaxgen.models import CNN
  >>> network = CNN(out_channels=1, base_channels=4, num_blocks=1, norm_groups=2)
  >>> x, t = jnp.zeros((2, 8, 8, 1)), jnp.array([0.0, 500.0])
  >>> jax.eval_shape(lambda key: network.init_with_output(key, x, t)[0], jax.random.key(0)).shape
  (2, 8, 8, 1)
"""

from jaxgen.models import lora
from jaxgen.models.classifier import Classifier
from jaxgen.models.cnn import CNN
from jaxgen.models.dcgan import Discriminator, Generator
from jaxgen.models.dit import DiT
from jaxgen.models.networks import NETWORKS, make_network
from jaxgen.models.published import inception
from jaxgen.models.published.dinov2 import DINOv2
from jaxgen.models.published.dinov2_weights import dinov2_variables
from jaxgen.models.published.inception import Inception
from jaxgen.models.published.inception_weights import inception_variables
from jaxgen.models.r3gan import R3GANDiscriminator, R3GANGenerator
from jaxgen.models.unet import UNet

__all__ = [
    'CNN',
    'NETWORKS',
    'Classifier',
    'DINOv2',
    'DiT',
    'Discriminator',
    'Generator',
    'Inception',
    'R3GANDiscriminator',
    'R3GANGenerator',
    'UNet',
    'dinov2_variables',
    'inception',
    'inception_variables',
    'lora',
    'make_network',
]
