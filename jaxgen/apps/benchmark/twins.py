"""The PyTorch counterparts of jaxgen's methods, with its weights: diffusers' UNet2DModel, and the tutorial's DCGAN.

Each twin learns and draws as a method with its defaults does. Nothing here needs JAX: the files that
``describe.py`` wrote are all that a twin is made of.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

Config = Mapping[str, Any]  # the nested config of the run


@dataclasses.dataclass(frozen=True)
class Way:
    """How PyTorch does it.

    Attributes:
      cuda_graph: whether a training step is captured once and replayed. The learning rate and the decay of the average
        are then those of the captured step.
    """

    device: str = 'cpu'
    channels_last: bool = False
    compile: bool = False
    bfloat16: bool = False
    cuda_graph: bool = False

    @property
    def layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def ready(self, network: nn.Module) -> Callable:
        """The function of a network, of which the parameters are moved."""
        network.to(self.device, memory_format=self.layout)
        function = torch.compile(network) if self.compile else network

        def call(*args, **kwargs):
            with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
                return function(*args, **kwargs)

        return call


class Average:
    """The moving average of a network's parameters, as ``training.optimizer.ema_update`` has it."""

    def __init__(self, network: nn.Module, decay: float):
        self._params = list(network.parameters())
        self.params = [p.detach().clone() for p in self._params]
        self._decay, self._updates = decay, 0

    @torch.no_grad()
    def update(self) -> None:
        d = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self.params, self._params, 1 - d)
        self._updates += 1


class Twin:
    """What both have.

    Attributes:
      networks: those that learn, by the names that jaxgen has for them.
      average: of the parameters of the first.
    """

    networks: dict[str, nn.Module]
    average: Average

    def parameters(self) -> dict[str, int]:
        """How many each network has."""
        return {name: sum(p.numel() for p in network.parameters()) for name, network in self.networks.items()}

    def without_dropout(self) -> None:
        """From now on training keeps all."""
        for network in self.networks.values():
            for module in network.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0


class Diffusion(Twin):
    """DDPM: the loss of equation 14 in Ho et al. 2020, clipping, Adam with warm-up, a moving average; DDIM."""

    def __init__(self, folder: pathlib.Path, config: Config, way: Way):
        from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

        self._unet = UNet2DModel.from_pretrained(folder / 'unet')
        self.networks = {'unet': self._unet}
        self._network = way.ready(self._unet)
        self._way, self._config = way, config
        alphas_cumprod = DDPMScheduler.from_pretrained(folder / 'scheduler').alphas_cumprod
        self._alphas_cumprod = alphas_cumprod.to(way.device)
        self._scheduler = DDIMScheduler.from_pretrained(folder / 'scheduler')
        o = config['optimizer']
        self._params = list(self._unet.parameters())
        self._adam = torch.optim.Adam(
            self._params, o['learning_rate'], (o['beta1'], 0.999), fused=True, capturable=way.cuda_graph
        )
        warmup = o['warmup_steps']
        self._warmup = torch.optim.lr_scheduler.LambdaLR(self._adam, lambda i: min(1, i / warmup) if warmup else 1)
        self.average = Average(self._unet, o['ema_decay'])

    def draw(self, num: int) -> dict[str, Tensor]:
        """What a step draws at random, for ``num`` images."""
        c, side = self._unet.config.in_channels, self._unet.config.sample_size
        t = torch.randint(len(self._alphas_cumprod), (num,), device=self._way.device)
        return {'noise': torch.randn(num, c, side, side, device=self._way.device), 't': t}

    def step(self, image: Tensor, label: Tensor, noise: Tensor, t: Tensor) -> dict[str, Tensor]:
        """One update on images ``[N, C, H, W]`` in [-1, 1]; the losses before it."""
        self._unet.train()
        a = self._alphas_cumprod[t].view(-1, 1, 1, 1)
        noisy = a.sqrt() * image + (1 - a).sqrt() * noise
        predicted = self._predict(noisy, t, label)
        loss = functional.mse_loss(predicted.float(), noise)
        self._adam.zero_grad()
        loss.backward()
        if clip := self._config['optimizer']['grad_clip_norm']:
            torch.nn.utils.clip_grad_norm_(self._params, clip)
        self._adam.step()
        self._warmup.step()
        self.average.update()
        return {'loss': loss.detach()}

    def _predict(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        known = {'class_labels': label} if self._unet.config.num_class_embeds else {}
        return self._network(x.contiguous(memory_format=self._way.layout), t, return_dict=False, **known)[0]

    @torch.inference_mode()
    def sample(self, num: int, label: Tensor) -> Tensor:
        """Images ``[num, C, H, W]`` in as many network calls as ``config.sample.num_steps``."""
        self._unet.eval()
        x = self.draw(num)['noise']
        self._scheduler.set_timesteps(self._config['sample']['num_steps'])
        for t in self._scheduler.timesteps.to(self._way.device):
            predicted = self._predict(x, t.expand(num), label)
            x = self._scheduler.step(predicted.float(), t, x).prev_sample
        return x


class Adversarial(Twin):
    """The PyTorch tutorial's DCGAN and its training step, with a moving average of the generator."""

    def __init__(self, folder: pathlib.Path, config: Config, way: Way):
        sizes = json.loads((folder / 'config.json').read_text())
        self._nz, self._way = sizes['nz'], way
        self.networks = networks = {'generator': generator(**sizes), 'discriminator': discriminator(**sizes)}
        for name, network in networks.items():
            network.load_state_dict(load_file(folder / f'{name}.safetensors'))
        self._generator, self._discriminator = (way.ready(networks[n]) for n in ('generator', 'discriminator'))
        o = config['optimizer']
        rates = {'generator': o['learning_rate'], 'discriminator': config['gan']['discriminator_learning_rate']}
        self._adams = {
            name: torch.optim.Adam(
                network.parameters(),
                rates[name] or o['learning_rate'],
                (o['beta1'], 0.999),
                fused=True,
                capturable=way.cuda_graph,
            )
            for name, network in networks.items()
        }
        self.average = Average(networks['generator'], o['ema_decay'])

    def draw(self, num: int) -> dict[str, Tensor]:
        """What a step draws at random, for ``num`` images."""
        return {'latents': torch.randn(num, self._nz, device=self._way.device)}

    def step(self, image: Tensor, label: Tensor, latents: Tensor) -> dict[str, Tensor]:
        """One update of both networks on images ``[N, C, H, W]`` in [-1, 1]; the losses that led to them."""
        for network in self.networks.values():
            network.train()
        image = image.contiguous(memory_format=self._way.layout)
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
        """Images ``[num, C, H, W]``."""
        self.networks['generator'].eval()
        return self._generator(self.draw(num)['latents'][:, :, None, None])


TWINS = {'ddpm': Diffusion, 'dcgan': Adversarial}


def generator(image_size: int, nc: int, nz: int, ngf: int, **other: int) -> nn.Module:
    """The tutorial's, which has 64 pixels a side, or one of its kind with more or fewer levels."""
    width = ngf * image_size // 8
    layers = [nn.ConvTranspose2d(nz, width, 4, 1, 0, bias=False)]
    while width > ngf:
        layers += [nn.BatchNorm2d(width), nn.ReLU(True), nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False)]
        width //= 2
    layers += [nn.BatchNorm2d(width), nn.ReLU(True), nn.ConvTranspose2d(width, nc, 4, 2, 1, bias=False), nn.Tanh()]
    return _Main(*layers)


def discriminator(image_size: int, nc: int, ndf: int, **other: int) -> nn.Module:
    """The tutorial's, without the sigmoid at its end, which the loss has."""
    layers = [nn.Conv2d(nc, ndf, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
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
    """Layers under the name that the tutorial's state dicts have."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.main = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)
