"""DDPM on your own images: a folder, a .zip or a .tar; its subfolders are classes.

python main.py --config=configs/ddpm_folder.py --config.data.path=FOLDER
  Hardware: an accelerator
  Hours: not yet measured; 50,000 steps of 64 images
  Expect: not yet measured

python main.py --config=configs/ddpm_folder.py:small --config.data.path=FOLDER
  Hardware: two CPU cores, or a GPU
  Hours: 0.3 to 0.5: 4,000 steps took 27 minutes next to other work
  Expect: trained on 281 photographs of three breeds of dogs: fur in the colours of each breed on grass, few faces

Other sides than 64 pixels are variants as well: configs/ddpm_folder.py:32, :128, :256. From 64 pixels on,
each doubling adds a level to the network, so that the lowest level has 8 pixels, and the batch shrinks with the side:

  side  channel_multipliers  batch
    32  1, 2, 2, 2             128
    64  1, 2, 2, 4              64
   128  1, 1, 2, 2, 4           32
   256  1, 1, 2, 2, 4, 4         8
"""

from jaxgen import config
from jaxgen.errors import UserError

SIDES = {
    32: ((1, 2, 2, 2), 128),
    64: ((1, 2, 2, 4), 64),
    128: ((1, 1, 2, 2, 4), 32),
    256: ((1, 1, 2, 2, 4, 4), 8),
}


def get_config(variant: str = ''):
    """Return a config for a side in pixels, 64 by default; ``small`` works on 4x4 patches of images of 64 pixels."""
    side = 64 if variant in ('', 'small') else int(variant) if variant.isdecimal() else 0
    if side not in SIDES:
        raise UserError(
            f'configs/ddpm_folder.py has no variant {variant!r}; it has small, {", ".join(map(str, SIDES))}'
        )
    c = config.base('ddpm')
    c.data.name = 'folder'
    c.data.image_size = side
    c.data.random_flip = True
    c.model.channel_multipliers, c.data.batch_size = SIDES[side]
    c.model.conditional = True
    c.diffusion.schedule = 'cosine'
    c.diffusion.label_dropout = 0.1
    c.optimizer.learning_rate = 1e-4
    c.optimizer.warmup_steps = 500
    c.train.steps = 50_000
    c.sample.sampler = 'dpmpp_2m'
    c.sample.num_steps = 25
    if variant == 'small':
        c.data.batch_size = 32
        c.model.patch_size = 4
        c.model.base_channels = 64
        c.model.channel_multipliers = (1, 1, 1)
        c.model.num_res_blocks = 1
        c.model.attention_resolutions = (8,)
        c.model.norm_groups = 16
        c.model.dropout = 0.0
        c.diffusion.parameterisation = 'x0'  # the 48 noise values of a 4x4 patch are harder to predict than its pixels
        c.diffusion.weighting = 'min_snr'
        c.optimizer.learning_rate = 8e-4
        c.optimizer.ema_decay = 0.999
        c.train.steps = 4000
        c.mesh.cpu_devices = 2
        c.checkpoint.every = 500
        c.sample.every = 500
        c.sample.num_steps = 15
        c.sample.guidance_scale = 3.0  # has no effect without classes
    return c
