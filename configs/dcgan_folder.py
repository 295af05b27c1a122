"""DCGAN on your own images: a folder, a .zip or a .tar; its subfolders are classes.

python main.py --config=configs/dcgan_folder.py --config.data.path=FOLDER
  Hardware: an accelerator
  Hours: not yet measured; 20,000 steps of 128 images
  Expect: not yet measured

python main.py --config=configs/dcgan_folder.py:small --config.data.path=FOLDER
  Hardware: two CPU cores, or a GPU
  Hours: 0.6, estimated from the 1.45 steps/s of dcgan_dogs.py:small, which has the same networks
  Expect: not yet measured

Other sides than 64 pixels are variants as well: configs/dcgan_folder.py:32, :128. The networks have one more layer each time the
side doubles. The batch size is 128 for 32 and 64 pixels, and 64 for 128 pixels.
"""

from jaxgen import config
from jaxgen.errors import UserError

BATCHES = {32: 128, 64: 128, 128: 64}


def get_config(variant: str = ''):
    """Return a config with the tutorial's networks for a side in pixels, 64 by default; ``small`` has fewer channels."""
    side = 64 if variant in ('', 'small') else int(variant) if variant.isdecimal() else 0
    if side not in BATCHES:
        raise UserError(
            f'configs/dcgan_folder.py has no variant {variant!r}; it has small, {", ".join(map(str, BATCHES))}'
        )
    c = config.base('dcgan')
    c.data.name = 'folder'
    c.data.image_size = side
    c.data.random_flip = True
    c.data.batch_size = BATCHES[side]
    c.model.conditional = True
    c.gan.augment = ('translation', 'cutout')  # helps with hundreds or a few thousand images
    c.train.steps = 20_000
    c.sample.num = 100
    c.sample.batch_size = 100
    if variant == 'small':
        c.data.batch_size = 64
        c.model.base_channels = 28
        c.train.steps = 3000
        c.mesh.cpu_devices = 2
        c.checkpoint.every = 250
        c.sample.every = 250
    return c
