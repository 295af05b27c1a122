"""Class-conditional DCGAN on CIFAR-10: the PyTorch tutorial's networks and optimisers, one level smaller for 32x32.

python main.py --config=configs/dcgan_cifar.py
  Hardware: an accelerator
  Hours: not yet measured; 40,000 steps of 128 images are 102 epochs
  Expect: not yet measured; published DCGANs read FID 37.7 to 50

python main.py --config=configs/dcgan_cifar.py:small
  Hardware: two CPU cores
  Hours: 1.6, reckoned from 49 minutes for 3,000 of the 6,000 steps
  Expect: after 3,000 steps classes that can be told apart, nothing sharp (docs/results/dcgan_cifar_small.md)
"""

from jaxgen import config
from jaxgen.errors import UserError


def get_config(variant: str = ''):
    """1,479,528 parameters against 665,856; ``small`` trains the same networks for fifteen epochs."""
    c = config.base('dcgan')
    c.data.random_flip = True
    c.model.conditional = True
    c.train.steps = 40_000
    c.sample.num = 100
    c.sample.batch_size = 100
    if variant == 'small':
        c.train.steps = 6000
        c.mesh.cpu_devices = 2
        c.checkpoint.every = 250
        c.sample.every = 500
    elif variant:
        raise UserError(f'configs/dcgan_cifar.py has no variant {variant!r}; it has small')
    return c
