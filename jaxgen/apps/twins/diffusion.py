"""The twin of the diffusion model: diffusers' UNet2DModel, trained as in Ho et al. 2020 and sampled by DDIM."""

from __future__ import annotations

import pathlib

import torch
from torch import Tensor
from torch.nn import functional

from jaxgen.apps.twins import torchvision_operators
from jaxgen.apps.twins.base import Average, ConfigTree, Execution, Twin


class DiffusionTwin(Twin):
    """A diffusion model: the loss of Ho et al. 2020 (equation 14), clipping, Adam with warm-up, a moving average, and DDIM."""

    def __init__(self, folder: pathlib.Path, config: ConfigTree, execution: Execution):
        torchvision_operators.declare()
        from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

        self._unet = UNet2DModel.from_pretrained(folder / 'unet')
        self.networks = {'unet': self._unet}
        self._network = execution.ready(self._unet)
        self._execution, self._config = execution, config
        alphas_cumprod = DDPMScheduler.from_pretrained(folder / 'scheduler').alphas_cumprod
        self._alphas_cumprod = alphas_cumprod.to(execution.device)
        self._scheduler = DDIMScheduler.from_pretrained(folder / 'scheduler')
        o = config['optimizer']
        self._params = list(self._unet.parameters())
        self._adam = torch.optim.Adam(
            self._params, o['learning_rate'], (o['beta1'], 0.999), fused=True, capturable=execution.cuda_graph
        )
        warmup = o['warmup_steps']
        self._warmup = torch.optim.lr_scheduler.LambdaLR(self._adam, lambda i: min(1, i / warmup) if warmup else 1)
        self.average = Average(self._unet, o['ema_decay'])

    def random_inputs(self, num: int) -> dict[str, Tensor]:
        """Return the random numbers of a step on ``num`` images."""
        c, side = self._unet.config.in_channels, self._unet.config.sample_size
        t = torch.randint(len(self._alphas_cumprod), (num,), device=self._execution.device)
        return {'noise': torch.randn(num, c, side, side, device=self._execution.device), 't': t}

    def step(self, image: Tensor, label: Tensor, noise: Tensor, t: Tensor) -> dict[str, Tensor]:
        """Make one update.

        Args:
          image: images ``[N, C, H, W]`` in [-1, 1].
          label: class labels ``[N]``.
          noise: standard normal noise in the shape of the images.
          t: timesteps ``[N]``.

        Returns:
          The losses before the update.
        """
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
        return self._network(x.contiguous(memory_format=self._execution.layout), t, return_dict=False, **known)[0]

    @torch.inference_mode()
    def sample(self, num: int, label: Tensor) -> Tensor:
        """Return samples ``[num, C, H, W]``, made in ``config.sample.num_steps`` steps."""
        self._unet.eval()
        x = self.random_inputs(num)['noise']
        self._scheduler.set_timesteps(self._config['sample']['num_steps'])
        for t in self._scheduler.timesteps.to(self._execution.device):
            predicted = self._predict(x, t.expand(num), label)
            x = self._scheduler.step(predicted.float(), t, x).prev_sample
        return x
