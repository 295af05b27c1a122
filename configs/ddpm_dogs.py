"""DDPM on Stanford Dogs at 64x64: a UNet of the same size as in diffusers' tutorial on unconditional training.

python main.py --config=configs/ddpm_dogs.py
  Hardware: an accelerator
  Hours: not yet measured; 50,000 steps of 64 images are 267 epochs
  Expect: not yet measured

python main.py --config=configs/ddpm_dogs.py:small
  Hardware: two CPU cores, or a GPU
  Hours: 1.3 to 2.7, estimated from 1.9 to 4 steps/s; under 6 minutes on an H100
  Expect: FID 94 for 8,580 images against the photographs of the test split; animals on grass, some of them clearly dogs
    (docs/results/ddpm_dogs_small.md)
"""

from jaxgen import config
from jaxgen.errors import UserError


def get_config(variant: str = ''):
    """Return a config with the tutorial's network of 113,673,219 parameters, or ``small``.

    ``small`` has 1,651,376 parameters, works on 4x4 patches and is class-conditional.
    """
    c = config.base('ddpm')
    c.data.name = 'stanford_dogs'
    c.data.batch_size = 64
    c.data.random_flip = True
    c.model.channel_multipliers = (1, 1, 2, 2, 4, 4)
    c.model.attention_resolutions = (4,)
    c.model.dropout = 0.0
    c.optimizer.learning_rate = 1e-4
    c.optimizer.warmup_steps = 500
    c.train.steps = 50_000
    if variant == 'small':
        c.data.batch_size = 32
        c.model.conditional = True
        c.model.patch_size = 4
        c.model.base_channels = 64
        c.model.channel_multipliers = (1, 1, 1)
        c.model.num_res_blocks = 1
        c.model.attention_resolutions = (8,)
        c.model.norm_groups = 16
        c.diffusion.schedule = 'cosine'
        c.diffusion.parameterisation = 'x0'  # the 48 noise values of a 4x4 patch are harder to predict than its pixels
        c.diffusion.weighting = 'min_snr'  # with equal weights, the highest noise levels would dominate the error of x0
        c.diffusion.label_dropout = 0.1
        c.optimizer.learning_rate = 8e-4
        c.optimizer.ema_decay = 0.999
        c.train.steps = 18_750  # 50 epochs
        c.mesh.cpu_devices = 2
        c.checkpoint.every = 500
        c.sample.every = 375  # one epoch
        c.sample.sampler = 'dpmpp_2m'
        c.sample.num_steps = 15
        c.sample.guidance_scale = 6.0
    elif variant:
        raise UserError(f'configs/ddpm_dogs.py has no variant {variant!r}; it has small')
    return c
