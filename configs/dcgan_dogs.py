"""Class-conditional DCGAN on Stanford Dogs at 64x64: the PyTorch tutorial's networks, with the breed as an input.

python main.py --config=configs/dcgan_dogs.py
  Hardware: an accelerator
  Hours: not yet measured; 20,000 steps of 128 images are 213 epochs
  Expect: not yet measured

python main.py --config=configs/dcgan_dogs.py:small
  Hardware: two CPU cores
  Hours: 0.9, reckoned from 31 minutes for 1,750 of the 3,000 steps
  Expect: after 1,750 steps patches of fur on grass and snow, no dog yet (docs/results/dcgan_dogs_small.md)
"""

from jaxgen import config
from jaxgen.errors import UserError


def get_config(variant: str = ''):
    """4,407,904 parameters against 2,827,008; ``small`` has half the channels and no augmentation."""
    c = config.base('dcgan')
    c.data.name = 'stanford_dogs'
    c.data.random_flip = True
    c.model.conditional = True
    c.gan.augment = 'translation,cutout'  # 100 photographs a breed are few
    c.train.steps = 20_000
    c.sample.num = 100
    c.sample.batch_size = 100
    if variant == 'small':
        c.data.batch_size = 64
        c.model.base_channels = 32
        c.gan.augment = ''  # sixteen epochs are too few to learn photographs by heart
        c.train.steps = 3000
        c.train.log_every = 50
        c.mesh.cpu_devices = 2
        c.checkpoint.every = 250
        c.sample.every = 250
    elif variant:
        raise UserError(f'configs/dcgan_dogs.py has no variant {variant!r}; it has small')
    return c
