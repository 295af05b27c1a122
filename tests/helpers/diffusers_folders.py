"""UNets of diffusers, tiny and with every tensor random, and folders of them as their users have them."""

import json

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from jaxgen.apps.config import SHARED, Config, base

# As google/ddpm-cifar10-32 describes itself, and small.
LIKE_CIFAR = {
    'sample_size': 8,
    'in_channels': 1,
    'out_channels': 1,
    'block_out_channels': (8, 16),
    'layers_per_block': 1,
    'down_block_types': ('DownBlock2D', 'AttnDownBlock2D'),
    'up_block_types': ('AttnUpBlock2D', 'UpBlock2D'),
    'attention_head_dim': None,
    'norm_num_groups': 4,
    'norm_eps': 1e-6,
    'freq_shift': 1,
    'flip_sin_to_cos': False,
    'downsample_padding': 0,
}


def command(**fields):
    """Return the config of a command for ``LIKE_CIFAR`` on the digits; ``fields`` change it, by dotted name."""
    c = base()
    c.data.name = 'digits'
    c.data.batch_size = c.sample.batch_size = c.sample.num = 16
    c.model.base_channels = 8
    c.model.channel_multipliers = (1, 2)
    c.model.num_res_blocks = 1
    c.model.attention_resolutions = (4,)
    c.model.norm_groups = 4
    c.diffusion.timesteps = 20
    c.diffusion.schedule = 'linear_betas'
    c.sample.num_steps = 4
    c.train.steps = c.train.log_every = c.sample.every = c.checkpoint.every = 2
    c.evaluation.num = 16
    return Config.from_tree(c.to_dict(), SHARED).replace(fields)


def unet2d(seed=0, **fields):
    """Return a ``UNet2DModel`` with every tensor random, of a size that keeps activations of order 1."""
    network = UNet2DModel(**{**LIKE_CIFAR, **fields}).eval()
    randomise(network, seed)
    return network


def randomise(network, seed):
    """Give every tensor of a network random numbers, of a size that keeps activations of order 1."""
    rng = np.random.default_rng(seed)
    for name, tensor in network.state_dict().items():
        of_norm = tensor.ndim == 1 and name.endswith('weight')
        scale = np.prod(tensor.shape[1:]) ** -0.5 if tensor.ndim > 1 else 0.3
        tensor.copy_(torch.from_numpy(of_norm + rng.normal(size=tensor.shape) * scale))


def pipeline(path, network=None, **scheduler):
    """Save a pipeline; its network is random if none is given."""
    scheduler = DDPMScheduler(**{'num_train_timesteps': 20, 'variance_type': 'fixed_large', **scheduler})
    DDPMPipeline(network or unet2d(), scheduler).save_pretrained(path)
    return path


def edit(path, **fields):
    """Change fields of a JSON file; the value 'removed' removes a field."""
    content = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({k: v for k, v in content.items() if v != 'removed'}))


def torch_images(x):
    """Return images ``[N, H, W, C]`` as a tensor ``[N, C, H, W]``."""
    return torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy())
