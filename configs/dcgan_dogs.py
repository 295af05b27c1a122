"""Class-conditional DCGAN on Stanford Dogs at 64x64: the PyTorch tutorial's networks, with the breed as an input.

python main.py --config=configs/dcgan_dogs.py
  Hardware: an accelerator
  Hours: not yet measured; 20,000 steps of 128 images are 213 epochs
  Expect: not yet measured

python main.py --config=configs/dcgan_dogs.py:small
  Hardware: two CPU cores, or a GPU
  Hours: 1.8, reckoned from 1.45 steps/s; on an H100 under 4 minutes
  Expect: FID 135, 8,580 images against the photographs of the test split; bodies with legs on lawn, few heads
    (docs/results/dcgan_dogs_small.md)
"""

from jaxgen import config
from jaxgen.errors import UserError


def get_config(variant: str = ''):
    """Return a generator of 4,407,904 parameters and a discriminator of 2,827,008; ``small`` has 1,257,832 and 559,440."""
    c = config.base('dcgan')
    c.data.name = 'stanford_dogs'
    c.data.random_flip = True
    c.model.conditional = True
    c.gan.augment = ('translation', 'cutout')  # 100 photographs a breed are few
    c.train.steps = 20_000
    c.sample.num = 100
    c.sample.batch_size = 100
    if variant == 'small':
        c.data.batch_size = 64
        c.model.base_channels = 28  # both networks in bfloat16 are 3.6 MB
        c.train.steps = 9400  # 50 epochs
        c.mesh.cpu_devices = 2
        c.checkpoint.every = 500
        c.sample.every = 188  # an epoch
    elif variant:
        raise UserError(f'configs/dcgan_dogs.py has no variant {variant!r}; it has small')
    return c
