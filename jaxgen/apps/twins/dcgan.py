"""The twin of the DCGAN: the networks and the training step of the PyTorch tutorial."""

from __future__ import annotations

import json
import pathlib

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from jaxgen.apps.twins.base import Average, ConfigTree, Execution, Twin


class DCGANTwin(Twin):
    """The PyTorch tutorial's DCGAN and its training step, with a moving average of the generator."""

    def __init__(self, folder: pathlib.Path, config: ConfigTree, execution: Execution):
        sizes = json.loads((folder / 'config.json').read_text())
        self._nz, self._execution = sizes['nz'], execution
        self.networks = networks = {'generator': generator(**sizes), 'discriminator': discriminator(**sizes)}
        for name, network in networks.items():
            network.load_state_dict(load_file(folder / f'{name}.safetensors'))
        self._generator, self._discriminator = (execution.ready(networks[n]) for n in ('generator', 'discriminator'))
        o = config['optimizer']
        rates = {'generator': o['learning_rate'], 'discriminator': config['gan']['discriminator_learning_rate']}
        self._adams = {
            name: torch.optim.Adam(
                network.parameters(),
                rates[name] or o['learning_rate'],
                (o['beta1'], 0.999),
                fused=True,
                capturable=execution.cuda_graph,
            )
            for name, network in networks.items()
        }
        self.average = Average(networks['generator'], o['ema_decay'])

    def random_inputs(self, num: int) -> dict[str, Tensor]:
        """Return the random numbers of a step on ``num`` images."""
        return {'latents': torch.randn(num, self._nz, device=self._execution.device)}

    def step(self, image: Tensor, label: Tensor, latents: Tensor) -> dict[str, Tensor]:
        """Make one update of both networks.

        Args:
          image: images ``[N, C, H, W]`` in [-1, 1].
          label: not used.
          latents: random numbers ``[N, nz]``.

        Returns:
          The losses that led to the updates.
        """
        for network in self.networks.values():
            network.train()
        image = image.contiguous(memory_format=self._execution.layout)
        self._adams['discriminator'].zero_grad()
        loss_real = self._cross_entropy(image, 1.0)
        loss_real.backward()
        fake = self._generator(latents[:, :, None, None]).float()
        loss_fake = self._cross_entropy(fake.detach(), 0.0)
        loss_fake.backward()
        self._adams['discriminator'].step()
        self._adams['generator'].zero_grad()
        loss_generator = self._cross_entropy(fake, 1.0)
        loss_generator.backward(inputs=list(self.networks['generator'].parameters()))
        self._adams['generator'].step()
        self.average.update()
        losses = {'loss_discriminator': loss_real + loss_fake, 'loss_generator': loss_generator}
        return {name: loss.detach() for name, loss in losses.items()}

    def _cross_entropy(self, images: Tensor, target: float) -> Tensor:
        logits = self._discriminator(images).float().view(-1)
        return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    @torch.inference_mode()
    def sample(self, num: int, label: Tensor) -> Tensor:
        """Return samples ``[num, C, H, W]``."""
        self.networks['generator'].eval()
        return self._generator(self.random_inputs(num)['latents'][:, :, None, None])


def generator(image_size: int, nc: int, nz: int, ngf: int, **other: int) -> nn.Module:
    """Return the generator of the tutorial, with more or fewer levels for images of more or fewer than 64 pixels a side.

    Args:
      image_size: side of the images in pixels.
      nc: channels of the images.
      nz: number of random numbers.
      ngf: channels of the largest feature maps.
      **other: sizes of the discriminator.
    """
    width = ngf * image_size // 8
    layers: list[nn.Module] = [nn.ConvTranspose2d(nz, width, 4, 1, 0, bias=False)]
    while width > ngf:
        layers += [nn.BatchNorm2d(width), nn.ReLU(True), nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False)]
        width //= 2
    layers += [nn.BatchNorm2d(width), nn.ReLU(True), nn.ConvTranspose2d(width, nc, 4, 2, 1, bias=False), nn.Tanh()]
    return _Main(*layers)


def discriminator(image_size: int, nc: int, ndf: int, **other: int) -> nn.Module:
    """Return the discriminator of the tutorial, without the sigmoid at its end, which is part of the loss.

    Args:
      image_size: side of the images in pixels.
      nc: channels of the images.
      ndf: channels of the largest feature maps.
      **other: sizes of the generator.
    """
    layers: list[nn.Module] = [nn.Conv2d(nc, ndf, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    width, last = ndf, ndf * image_size // 8
    while width < last:
        layers += [
            nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        width *= 2
    return _Main(*layers, nn.Conv2d(width, 1, 4, 1, 0, bias=False))


class _Main(nn.Module):
    """A sequence of layers under the name that it has in the tutorial's state dicts."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.main = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        return self.main(x)
