"""Class-conditional R3GAN on CIFAR-10: the networks and the recipe of Huang et al. 2024, and a small one.

python main.py --config=configs/r3gan_cifar.py
  Hardware: accelerators
  Hours: not yet measured; 200,000 steps of 512 images are 2,048 epochs
  Expect: not yet measured; the paper reports FID 1.96 with the augmentation of StyleGAN2-ADA, which jaxgen does not have

python main.py --config=configs/r3gan_cifar.py:small
  Hardware: two CPU cores
  Hours: 0.9 at 96 images/s
  Expect: outlines in the colours of each class, KID 0.159, where the DCGAN has 0.027 after 1.25 hours
    (docs/results/r3gan_cifar.md)
"""

from jaxgen import config
from jaxgen.errors import UserError


def get_config(variant: str = ''):
    """Return a generator of 20,781,952 parameters and a discriminator of 21,280,512, or ``small``.

    ``small`` has 256,112 and 256,752, larger groups, and an eighth of the batch. Its learning rate and gamma fall over the whole
    run.
    """
    c = config.base('r3gan')
    c.data.random_flip = True
    c.data.batch_size = 512
    c.model.conditional = True
    c.model.dtype = 'bfloat16'
    c.train.steps = 200_000
    c.optimizer.decay = 'cosine'
    c.optimizer.decay_steps = 39_062  # 20 million images
    c.optimizer.decay_to = 0.25  # from 2e-4 to 5e-5
    c.optimizer.ema_decay = 0.99993  # half of the average is of the last 5 million images
    c.gan.final_gamma = 0.005
    c.gan.burn_in_steps = 39_062
    c.gan.augment = ('color', 'translation', 'cutout')
    c.sample.num = 100
    c.sample.batch_size = 100
    if variant == 'small':
        c.data.batch_size = 64
        c.model.dtype = 'float32'
        c.model.channels = (128, 64, 32, 16)
        c.model.num_blocks = 1
        c.model.group_size = 32  # each group is a convolution of its own on CPUs, so few large ones
        c.train.steps = 4800
        c.optimizer.decay_steps = None
        c.optimizer.ema_decay = 0.999
        c.gan.burn_in_steps = 4800
        c.gan.augment = None
        c.mesh.cpu_devices = 2
        c.checkpoint.every = 500
        c.sample.every = 1000
    elif variant:
        raise UserError(f'configs/r3gan_cifar.py has no variant {variant!r}; it has small')
    return c
