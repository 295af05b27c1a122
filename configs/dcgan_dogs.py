"""Class-conditional DCGAN on Stanford Dogs at 64x64: the PyTorch tutorial's networks, with the breed as an input.

python main.py --config=configs/dcgan_dogs.py
  Hardware: an accelerator
  Hours: not yet measured; 20,000 steps of 128 images are 213 epochs
  Expect: not yet measured

python main.py --config=configs/dcgan_dogs.py:small
  Hardware: two CPU cores, or a GPU
  Hours: 1.8, estimated from 1.45 steps/s; under 4 minutes on an H100
  Expect: FID 135 for 8,580 images against the photographs of the test split; bodies with legs on grass, few heads
    (docs/results/dcgan_dogs_small.md)
"""

from jaxgen import config
from jaxgen.errors import UserError


def get_config(variant: str = ''):
    """Return a config with 4,407,904 parameters in the generator and 2,827,008 in the discriminator, or ``small``.

    ``small`` has 1,257,832 and 559,440 parameters.
    """
    c = config.base('dcgan')
    c.data.name = 'stanford_dogs'
    c.data.random_flip = True
    c.model.conditional = True
    c.gan.augment = ('translation', 'cutout')  # 100 photographs per breed are few
    c.train.steps = 20_000
    c.sample.num = 100
    c.sample.batch_size = 100
    if variant == 'small':
        c.data.batch_size = 64
        c.model.base_channels = 28  # the weights of both networks take 3.6 MB in bfloat16
        c.train.steps = 9400  # 50 epochs
        c.mesh.cpu_devices = 2
        c.checkpoint.every = 500
        c.sample.every = 188  # one epoch
    elif variant:
        raise UserError(f'configs/dcgan_dogs.py has no variant {variant!r}; it has small')
    return c
