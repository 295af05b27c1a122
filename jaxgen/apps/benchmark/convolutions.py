"""Measure the rates of convolutions and of their gradients in XLA and PyTorch, which explain the rates of a training step.

python -m jaxgen.apps.benchmark.convolutions
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.types import Array, Fields

SECONDS = 1.0  # minimum time to measure each function, in seconds


class Convolution(NamedTuple):
    """A convolution of ``batch`` square images of ``side`` pixels, with windows of ``window`` pixels and padding 1."""

    batch: int
    side: int
    channels: int
    features: int
    window: int = 3
    stride: int = 1

    @property
    def side_out(self) -> int:
        """The side of the output, in pixels."""
        return (self.side + 2 - self.window) // self.stride + 1

    @property
    def flops(self) -> int:
        """The floating-point operations of the forward pass, and of each of its gradients."""
        return 2 * self.batch * self.side_out**2 * self.window**2 * self.channels * self.features

    def __str__(self) -> str:
        windows = f'{self.window}x{self.window}' + (f' by {self.stride}' if self.stride > 1 else '')
        return f'{self.batch} of {self.side}x{self.side}, {self.channels} to {self.features}, {windows}'


CONVOLUTIONS = (  # three of ddpm_cifar's UNet, one of a narrow UNet, and two of the tutorial's discriminator
    Convolution(8, 32, 128, 128),
    Convolution(8, 16, 256, 256),
    Convolution(8, 8, 256, 256),
    Convolution(8, 32, 64, 64),
    Convolution(64, 32, 64, 128, window=4, stride=2),
    Convolution(64, 16, 128, 256, window=4, stride=2),
)


def rates(convolution: Convolution) -> dict[str, dict[str, float]]:
    """Return GFLOP/s of the forward pass and of both gradients, by library; all three take the same number of operations."""
    found = {'XLA': _xla(convolution)}
    if importlib.util.find_spec('torch'):
        found['PyTorch'] = _pytorch(convolution)
    return {
        library: {what: convolution.flops / _median_seconds(run) / 1e9 for what, run in runs.items()}
        for library, runs in found.items()
    }


def _median_seconds(run: Callable[[], object]) -> float:
    run()
    taken: list[float] = []
    while sum(taken) < SECONDS:
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _xla(c: Convolution) -> dict[str, Callable[[], object]]:
    x = jax.random.normal(jax.random.key(0), (c.batch, c.side, c.side, c.channels))
    kernel = jax.random.normal(jax.random.key(1), (c.window, c.window, c.channels, c.features))
    out = jax.random.normal(jax.random.key(2), (c.batch, c.side_out, c.side_out, c.features))

    def convolve(x: Array, kernel: Array) -> Array:
        strides, padding = (c.stride, c.stride), ((1, 1), (1, 1))
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))

    of_input = jax.jit(lambda x, k, g: jax.linear_transpose(lambda x: convolve(x, k), x)(g))
    of_kernel = jax.jit(lambda x, k, g: jax.linear_transpose(lambda k: convolve(x, k), k)(g))
    forward = jax.jit(convolve)
    return {
        'forward': lambda: jax.block_until_ready(forward(x, kernel)),
        'input gradient': lambda: jax.block_until_ready(of_input(x, kernel, out)),
        'kernel gradient': lambda: jax.block_until_ready(of_kernel(x, kernel, out)),
    }


def _pytorch(c: Convolution) -> dict[str, Callable[[], object]]:
    import torch
    from torch.nn import functional, grad

    def random(*sizes: int) -> torch.Tensor:
        return torch.randn(*sizes).contiguous(memory_format=torch.channels_last)

    x, kernel = random(c.batch, c.channels, c.side, c.side), random(c.features, c.channels, c.window, c.window)
    out = random(c.batch, c.features, c.side_out, c.side_out)
    options: Fields = {'padding': 1, 'stride': c.stride}
    return {
        'forward': lambda: functional.conv2d(x, kernel, **options),
        'input gradient': lambda: grad.conv2d_input(x.shape, kernel, out, **options),
        'kernel gradient': lambda: grad.conv2d_weight(x, kernel.shape, out, **options),
    }


def main() -> None:
    """Print a table in GFLOP/s, with the rate of matrix products on this machine in the last row."""
    print('| convolution | by | forward | input gradient | kernel gradient |\n|---|---|---|---|---|')
    for convolution in CONVOLUTIONS:
        for library, found in rates(convolution).items():
            print(f'| {convolution} | {library} | ' + ' | '.join(f'{r:.0f}' for r in found.values()) + ' |', flush=True)
    a = jax.random.normal(jax.random.key(0), (2048, 2048))
    product = jax.jit(jnp.matmul)
    rate = 2 * 2048**3 / _median_seconds(lambda: jax.block_until_ready(product(a, a))) / 1e9
    print(f'| product of 2048 x 2048 | XLA | {rate:.0f} | | |')


if __name__ == '__main__':
    main()
