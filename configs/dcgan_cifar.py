"""Class-conditional DCGAN on CIFAR-10: the PyTorch tutorial's networks and optimisers, one level smaller for 32x32.

python main.py --config=configs/dcgan_cifar.py
  Hardware: an accelerator
  Hours: not yet measured; 40,000 steps of 128 images are 102 epochs
  Expect: not yet measured; published DCGANs read FID 37.7 to 50

python main.py --config=configs/dcgan_cifar.py:small
  Hardware: two CPU cores
  Hours: 1.5, reckoned from 43 minutes for 10,600 of the 22,000 steps
  Expect: FID 62.7 and 38% seen as the class asked for after 10,628 steps, 10,000 images against the 50,000 of training
    (docs/results/dcgan_cifar_small.md)
"""

from jaxgen import config
from jaxgen.errors import UserError


def get_config(variant: str = ''):
    """1,479,528 parameters against 665,856; ``small`` trains the same networks for 28 epochs, on half the batch."""
    c = config.base('dcgan')
    c.data.random_flip = True
    c.model.conditional = True
    c.train.steps = 40_000
    c.sample.num = 100
    c.sample.batch_size = 100
    if variant == 'small':
        c.data.batch_size = 64
        c.train.steps = 22_000
        c.mesh.cpu_devices = 2
        c.checkpoint.every = 500
        c.sample.every = 1000
    elif variant:
        raise UserError(f'configs/dcgan_cifar.py has no variant {variant!r}; it has small')
    return c
