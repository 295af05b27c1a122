"""Class-conditional DCGAN on CIFAR-10: the PyTorch tutorial's networks and optimisers, one level smaller for 32x32.

python main.py --config=configs/dcgan_cifar.py
  Hardware: an accelerator
  Hours: not yet measured; 40,000 steps of 128 images are 102 epochs
  Expect: not yet measured; published DCGANs read FID 37.7 to 50

python main.py --config=configs/dcgan_cifar.py:small
  Hardware: two CPU cores
  Hours: 1.25 at 310 images/s
  Expect: FID 49.0 and 43% seen as the class asked for, 10,000 images against the 50,000 of training; aeroplanes, ships and
    trucks that can be named, automobiles and frogs collapsed to one picture each (docs/results/dcgan_cifar_small.md)

python main.py --config=configs/dcgan_cifar.py:one_class
  Hardware: two CPU cores, or a GPU
  Hours: 0.35, reckoned from 310 images/s; on an H100 under 4 minutes
  Expect: FID 72 for dogs and 69 for horses, 5,000 images against the 5,000 of the class; 76% and 71% seen as such
    (docs/results/one_class.md)
"""

from jaxgen import config
from jaxgen.errors import UserError


def get_config(variant: str = ''):
    """Return a generator of 1,479,528 parameters and a discriminator of 665,856, or a variant.

    ``small`` has 1,223,032 and 510,944, and half the batch. ``one_class`` is ``small`` for one class, dogs or those of
    ``data.classes``.
    """
    c = config.base('dcgan')
    c.data.random_flip = True
    c.model.conditional = True
    c.train.steps = 40_000
    c.sample.num = 100
    c.sample.batch_size = 100
    if variant == 'small':
        c.data.batch_size = 64
        c.model.base_channels = 56  # both networks in bfloat16 are 3.5 MB
        c.train.steps = 22_000
        c.mesh.cpu_devices = 2
        c.checkpoint.every = 500
        c.sample.every = 1000
    elif variant == 'one_class':
        c = get_config('small')
        c.data.classes = ('dog',)
        c.model.conditional = False
        c.train.steps = 6000
    elif variant:
        raise UserError(f'configs/dcgan_cifar.py has no variant {variant!r}; it has small and one_class')
    return c
