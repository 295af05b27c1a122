"""The base class of the twins, the settings of PyTorch for their networks, and the moving average of their parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from jaxgen.types import Fields

ConfigTree = Fields  # the config of the benchmark as a JSON object: sections of fields


@dataclasses.dataclass(frozen=True)
class Execution:
    """The settings with which PyTorch runs a network.

    Attributes:
      device: the name of the device.
      channels_last: whether images are stored with their channels last.
      compile: whether the network is compiled by ``torch.compile``.
      bfloat16: whether the network computes in bfloat16, by automatic mixed precision.
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
        """The layout of images and kernels in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def ready(self, network: nn.Module) -> Callable[..., Any]:
        """Move the parameters of a network to the device, and return the function that runs it."""
        network.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]  # not in the stubs of PyTorch
        function = torch.compile(network) if self.compile else network

        def call(*args: Any, **kwargs: Any) -> Any:
            with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
                return function(*args, **kwargs)

        return call


class Average:
    """The moving average of a network's parameters, as ``jaxgen.optim.ema`` computes it.

    Args:
      network: the network.
      decay: share of the average that a step keeps in the long run; None if the average equals the parameters.

    Attributes:
      params: the averaged parameters, in the order of the network's.
    """

    def __init__(self, network: nn.Module, decay: float | None):
        self._params: list[Tensor] = list(network.parameters())
        self.params = [p.detach().clone() for p in self._params]
        self._decay, self._updates = decay or 0.0, 0

    @torch.no_grad()
    def update(self) -> None:
        """Update the average after a step."""
        d = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(list(self.params), list[torch.Tensor](self._params), 1 - d)
        self._updates += 1


class Twin:
    """A base class for methods in PyTorch.

    Attributes:
      networks: the networks that are trained, by the names that jaxgen gives them.
      average: the moving average of the parameters of the first network.
    """

    networks: dict[str, nn.Module]
    average: Average

    def parameters(self) -> dict[str, int]:
        """Return the number of parameters of each network."""
        return {name: sum(p.numel() for p in network.parameters()) for name, network in self.networks.items()}

    def without_dropout(self) -> None:
        """Turn dropout off permanently."""
        for network in self.networks.values():
            for module in network.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
