"""Why a step takes as long as it does: the rates of the UNet's 3x3 convolutions and of their gradients, XLA's and PyTorch's.

python -m jaxgen.benchmark.convolutions
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

SHAPES = (
    (32, 128),
    (16, 256),
    (8, 256),
    (32, 64),
)  # side and channels, of batches of 8: ddpm_cifar's, and a narrow one
BATCH = 8
SECONDS = 1.0


def rates(side: int, channels: int) -> dict[str, dict[str, float]]:
    """GFLOP/s of the forward pass and of both gradients, by who computes them; each has the same operations to do."""
    flops = 2 * BATCH * side**2 * 9 * channels**2
    found = {'XLA': _xla(side, channels)}
    if importlib.util.find_spec('torch'):
        found['PyTorch'] = _pytorch(side, channels)
    return {
        who: {what: flops / _median_seconds(run) / 1e9 for what, run in runs.items()} for who, runs in found.items()
    }


def _median_seconds(run: Callable[[], object]) -> float:
    run()
    taken = []
    while sum(taken) < SECONDS:
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _xla(side: int, channels: int) -> dict[str, Callable]:
    x = jax.random.normal(jax.random.key(0), (BATCH, side, side, channels))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, channels, channels))

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))

    of_input = jax.jit(lambda x, k, g: jax.linear_transpose(lambda x: convolve(x, k), x)(g))
    of_kernel = jax.jit(lambda x, k, g: jax.linear_transpose(lambda k: convolve(x, k), k)(g))
    forward = jax.jit(convolve)
    return {
        'forward': lambda: jax.block_until_ready(forward(x, kernel)),
        'input gradient': lambda: jax.block_until_ready(of_input(x, kernel, x)),
        'kernel gradient': lambda: jax.block_until_ready(of_kernel(x, kernel, x)),
    }


def _pytorch(side: int, channels: int) -> dict[str, Callable]:
    import torch
    from torch.nn import functional, grad

    x = torch.randn(BATCH, channels, side, side).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)
    return {
        'forward': lambda: functional.conv2d(x, kernel, padding=1),
        'input gradient': lambda: grad.conv2d_input(x.shape, kernel, x, padding=1),
        'kernel gradient': lambda: grad.conv2d_weight(x, kernel.shape, x, padding=1),
    }


def main() -> None:
    """Prints a table, in GFLOP/s, the products of matrices of the same machine in the last row."""
    print('| side, channels | by | forward | input gradient | kernel gradient |\n|---|---|---|---|---|')
    for side, channels in SHAPES:
        for who, found in rates(side, channels).items():
            print(
                f'| {side}, {channels} | {who} | ' + ' | '.join(f'{rate:.0f}' for rate in found.values()) + ' |',
                flush=True,
            )
    a = jax.random.normal(jax.random.key(0), (2048, 2048))
    product = jax.jit(jnp.matmul)
    rate = 2 * 2048**3 / _median_seconds(lambda: jax.block_until_ready(product(a, a))) / 1e9
    print(f'| product of 2048 x 2048 | XLA | {rate:.0f} | | |')


if __name__ == '__main__':
    main()
