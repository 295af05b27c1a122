"""Grouped convolutions, and convolutions that change the resolution, in the form that is fastest on each platform.

On a CPU, XLA computes a convolution of a dilated input at a third of the speed of a plain convolution or less, and the kernel
gradient of a grouped convolution even slower. So on CPUs these functions and their gradients are made of plain convolutions.
Accelerators use the dilated and grouped forms, for which their libraries have kernels.

Images are ``[N, H, W, C]``, kernels ``[kh, kw, C, features]``.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxgen.types import Array

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
FEWEST_FEATURES = 16  # with fewer output features, the dilated form is faster on CPUs too


@jax.custom_vjp
def strided_conv(
    x: Float[Array, 'n h w c'], kernel: Float[Array, '4 4 c features']
) -> Float[Array, 'n h2 w2 features']:
    """Return the 4x4 convolution with stride 2 and padding 1: ``[N, 2H, 2W, C] -> [N, H, W, features]``."""
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=DIMENSIONS)


@jax.custom_vjp
def transposed_conv(
    x: Float[Array, 'n h w c'], kernel: Float[Array, '4 4 c features']
) -> Float[Array, 'n h2 w2 features']:
    """Return the transposed 4x4 convolution with stride 2 and padding 1: ``[N, H, W, C] -> [N, 2H, 2W, features]``.

    It computes the same as ``torch.nn.functional.conv_transpose2d(x, kernel, stride=2, padding=1)``. It is also the gradient of
    ``strided_conv`` with respect to its input, for the kernel with its last two axes swapped.
    """
    if kernel.shape[-1] < FEWEST_FEATURES:
        return _dilated(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=_by_phases, default=_dilated)


def upsample_conv(
    x: Float[Array, 'n h w c'], kernel: Float[Array, '3 3 c features']
) -> Float[Array, 'n h2 w2 features']:
    """Return the 3x3 convolution with padding 1 of the image, enlarged to twice its side by repeating pixels.

    The shapes are ``[N, H, W, C] -> [N, 2H, 2W, features]``. A 3x3 window of the enlarged image covers only 2x2 pixels of the
    original. So four 2x2 convolutions of the original, with sums of the rows and columns of the kernel, compute the same with
    4/9 of the work.
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_enlarged_by_phases, default=_enlarged)


def grouped_conv(x: Float[Array, 'n h w c'], kernel: Float[Array, '3 3 g c']) -> Float[Array, 'n h w c']:
    """Return the 3x3 convolution with padding 1 in groups of ``g`` channels: each output depends only on its own group.

    It computes the same as ``torch.nn.functional.conv2d(x, kernel, padding=1, groups=c // g)``.
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_group_by_group, default=_grouped)


def _strided_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return strided_conv(x, kernel), (x, kernel)


def _strided_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    return transposed_conv(gradient, kernel.swapaxes(2, 3)), _kernel_gradient(x, gradient)


def _transposed_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return transposed_conv(x, kernel), (x, kernel)


def _transposed_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    return strided_conv(gradient, kernel.swapaxes(2, 3)), _kernel_gradient(gradient, x).swapaxes(2, 3)


strided_conv.defvjp(_strided_forward, _strided_backward)
transposed_conv.defvjp(_transposed_forward, _transposed_backward)


def _kernel_gradient(x: Array, gradient: Array) -> Array:
    """Return the gradient of ``strided_conv(x, kernel)`` with respect to the kernel: ``[4, 4, C, features]``."""
    kernel = jax.ShapeDtypeStruct((4, 4, x.shape[-1], gradient.shape[-1]), x.dtype)
    (kernel_gradient,) = jax.linear_transpose(lambda kernel: strided_conv.fun(x, kernel), kernel)(gradient)
    return kernel_gradient


def _dilated(x: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=DIMENSIONS
    )


def _grouped(x: Array, kernel: Array) -> Array:
    groups = x.shape[-1] // kernel.shape[2]
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=DIMENSIONS, feature_group_count=groups
    )


def _group_by_group(x: Array, kernel: Array) -> Array:
    groups = x.shape[-1] // kernel.shape[2]
    pieces = zip(jnp.split(x, groups, axis=3), jnp.split(kernel, groups, axis=3), strict=True)
    return jnp.concatenate([_grouped(*piece) for piece in pieces], axis=3)


def _by_phases(x: Array, kernel: Array) -> Array:
    return _interleaved(x, lambda row, column: kernel[3 - row :: -2, 3 - column :: -2])


def _enlarged(x: Array, kernel: Array) -> Array:
    x = x.repeat(2, axis=1).repeat(2, axis=2)
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=DIMENSIONS)


def _enlarged_by_phases(x: Array, kernel: Array) -> Array:
    def pair(kernel: Array, phase: int) -> Array:
        rows = [kernel[0], kernel[1] + kernel[2]] if phase == 0 else [kernel[0] + kernel[1], kernel[2]]
        return jnp.stack(rows)

    return _interleaved(x, lambda row, column: pair(pair(kernel, row).swapaxes(0, 1), column).swapaxes(0, 1))


def _interleaved(x: Array, phase_kernel: Callable[[int, int], Array]) -> Array:
    """Return an image of twice the side, whose four phases are 2x2 convolutions of ``x``.

    Phase (row, column) consists of every second row and column of the output, starting at this row and column. The windows of
    phase 0 begin one pixel above (or to the left of) the input pixel, and those of phase 1 at the input pixel.
    """
    n, h, w, _ = x.shape
    padding = ((1, 0), (0, 1))

    def phase(row: int, column: int) -> Array:
        pads = padding[row], padding[column]
        return jax.lax.conv_general_dilated(x, phase_kernel(row, column), (1, 1), pads, dimension_numbers=DIMENSIONS)

    rows = [jnp.stack([phase(row, column) for column in (0, 1)], axis=3) for row in (0, 1)]
    return jnp.stack(rows, axis=2).reshape(n, 2 * h, 2 * w, -1)
