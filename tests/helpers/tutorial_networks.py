"""The networks of the PyTorch tutorial's DCGAN."""

import numpy as np
import torch
from torch import nn

from jaxgen.models.dcgan import num_levels


def tutorial_networks(image_size=64, ngf=64, nz=100, nc=3):
    """Return the tutorial's generator and discriminator, block by block, without the sigmoid that is part of the loss."""
    levels = num_levels(image_size)
    width = ngf * 2 ** (levels - 1)
    generator = [nn.ConvTranspose2d(nz, width, 4, 1, 0, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
    for _ in range(levels - 1):
        generator += [
            nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(True),
        ]
        width //= 2
    generator += [nn.ConvTranspose2d(width, nc, 4, 2, 1, bias=False), nn.Tanh()]

    discriminator = [nn.Conv2d(nc, ngf, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for level in range(1, levels):
        discriminator += [nn.Conv2d(ngf * 2 ** (level - 1), ngf * 2**level, 4, 2, 1, bias=False)]
        discriminator += [nn.BatchNorm2d(ngf * 2**level), nn.LeakyReLU(0.2, inplace=True)]
    discriminator += [nn.Conv2d(ngf * 2 ** (levels - 1), 1, 4, 1, 0, bias=False)]
    return nn.Sequential(*generator), nn.Sequential(*discriminator)


def randomise(network, rng):
    """Give every tensor of a network random numbers; variances are positive."""
    state = network.state_dict()
    for name, tensor in state.items():
        if name.endswith('running_var'):
            value = rng.uniform(0.5, 2, tensor.shape)
        elif tensor.ndim == 1:
            value = 1 + 0.3 * rng.normal(size=tensor.shape) * (not name.endswith('bias'))
        else:
            value = 0.05 * rng.normal(size=tensor.shape)
        if tensor.ndim:
            tensor.copy_(torch.from_numpy(np.asarray(value)))


def nchw(x):
    """Return images ``[N, H, W, C]`` as a tensor ``[N, C, H, W]``."""
    return torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy())
