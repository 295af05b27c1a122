"""Class-conditional DCGAN on CIFAR-10: the PyTorch tutorial's networks and optimisers, one level smaller for 32x32.

python main.py --config=configs/dcgan_cifar.py
  Hardware: an accelerator
  Hours: not yet measured; 40,000 steps of 128 images are 102 epochs
  Expect: not yet measured; published FIDs of DCGANs are 37.7 to 50

python main.py --config=configs/dcgan_cifar.py:small
  Hardware: two CPU cores
  Hours: 1.25 at 310 images/s
  Expect: FID 49.0 and 43% recognised as the requested class, for 10,000 images against the 50,000 training images; clear
    aeroplanes, ships and trucks, but a single picture each of automobiles and frogs (docs/results/dcgan_cifar_small.md)

python main.py --config=configs/dcgan_cifar.py:one_class
  Hardware: two CPU cores, or a GPU
  Hours: 0.35, estimated from 310 images/s; under 4 minutes on an H100
  Expect: FID 72 for dogs and 69 for horses, for 5,000 images against the 5,000 training images of the class; 76% and 71% are
    recognised as dogs and horses (docs/results/one_class.md)
"""

from jaxgen import config
from jaxgen.errors import UserError


def get_config(variant: str = ''):
    """Return a config with 1,479,528 parameters in the generator and 665,856 in the discriminator, or a variant.

    ``small`` has 1,223,032 and 510,944 parameters and half the batch size. ``one_class`` is ``small`` for a single class: dogs,
    or the class in ``data.classes``.
    """
    c = config.base('dcgan')
    c.data.random_flip = True
    c.model.conditional = True
    c.train.steps = 40_000
    c.sample.num = 100
    c.sample.batch_size = 100
    if variant == 'small':
        c.data.batch_size = 64
        c.model.base_channels = 56  # the weights of both networks take 3.5 MB in bfloat16
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
