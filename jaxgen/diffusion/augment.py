"""Geometric augmentation that does not leak into samples (Karras et al. 2022, appendix F.2).

Each training image is transformed at random, and nine condition numbers tell the network how. They are zero in sampling, which
asks for an image that is not transformed::

    parameters = sample_parameters(key, len(images), probability=0.12)
    images, conditions = transform(images, parameters), parameters.conditions()

As in the authors' code, the image is mirrored, enlarged to twice its side by a wavelet filter, looked up at each pixel of the
result by bilinear interpolation, and reduced by the same filter. If nothing is to be transformed, this returns the image.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgen.types import Array

NUM_CONDITIONS = 9
SCALE_STD = 0.2  # standard deviation of log2 of the scale and of the stretch
TRANSLATION_STD = 0.125  # standard deviation of the translation, as a share of the side
# The low-pass filter of the sym6 wavelet (Daubechies 1992), orthogonal to itself at even shifts.
SYM6 = np.array(
    [
        *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
        *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
        *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
    ]
)
MARGIN = len(SYM6) // 4  # pixels on each side that the reducing filter needs


class AugmentParameters(NamedTuple):
    """The transformations of N images; zeros leave an image as it is.

    The arrays are float32 ``[N]``, except ``translation``, which is ``[N, 2]``.

    Attributes:
      flip_x, flip_y: 1 mirrors the image horizontally or vertically.
      scale: log2 of the enlargement, divided by ``SCALE_STD``.
      rotation: angle in radians.
      stretch: log2 of the enlargement along an axis, divided by ``SCALE_STD``; across the axis the image shrinks as much.
      stretch_axis: angle of that axis in radians.
      translation: shift in x and y, in multiples of ``TRANSLATION_STD`` of the side.
    """

    flip_x: Array
    flip_y: Array
    scale: Array
    rotation: Array
    stretch: Array
    stretch_axis: Array
    translation: Array

    def conditions(self) -> Float[Array, 'n 9']:
        """Return the condition numbers for the network, in the authors' order; they are zero for unchanged images."""
        return jnp.stack(
            [
                self.flip_x,
                self.flip_y,
                self.scale,
                jnp.cos(self.rotation) - 1,
                jnp.sin(self.rotation),
                self.stretch * jnp.cos(self.stretch_axis),
                self.stretch * jnp.sin(self.stretch_axis),
                *self.translation.T,
            ],
            axis=1,
        )


def sample_parameters(key: Array, num: int, probability: float) -> AugmentParameters:
    """Sample the parameters of independent transformations (Karras et al. 2022, table 6).

    Half of the images are mirrored horizontally. Each of the other five transformations is chosen with ``probability``; half of
    the images for which the vertical mirror is chosen are then mirrored.

    Args:
      key: random key.
      num: number of images.
      probability: probability of each transformation, from 0 to 1.
    """
    keys = jax.random.split(key, 8)
    happens = jax.random.uniform(keys[0], (5, num)) < probability
    coins = jax.random.bernoulli(keys[1], shape=(2, num)).astype(jnp.float32)
    turned = jax.random.bernoulli(keys[2], shape=(num,))  # half of the stretches are along the x axis
    return AugmentParameters(
        flip_x=coins[0],
        flip_y=jnp.where(happens[0], coins[1], 0),
        scale=jnp.where(happens[1], jax.random.normal(keys[3], (num,)), 0),
        rotation=jnp.where(happens[2], _random_angle(keys[4], num), 0),
        stretch=jnp.where(happens[3], jax.random.normal(keys[5], (num,)), 0),
        stretch_axis=jnp.where(turned, _random_angle(keys[6], num), 0),
        translation=jnp.where(happens[4][:, None], jax.random.normal(keys[7], (num, 2)), 0),
    )


def transform(images: Float[Array, 'n h w c'], parameters: AugmentParameters) -> Float[Array, 'n h w c']:
    """Transform each image, which continues beyond its borders as its mirror image.

    Args:
      images: images with any range of values.
      parameters: one transformation for each image.
    """
    _, height, width, _ = images.shape
    p = parameters
    images = jnp.where((p.flip_x > 0)[:, None, None, None], images[:, :, ::-1], images)
    images = jnp.where((p.flip_y > 0)[:, None, None, None], images[:, ::-1], images)
    rows, columns = _enlarged_lookup(_inverse_matrices(p, height, width), height, width)
    large = _along_axes(images, _enlarging(height), _enlarging(width))
    moved = _bilinear(large, rows, columns)
    return _along_axes(moved, _reducing(height), _reducing(width))


def _random_angle(key: Array, num: int) -> Array:
    return jax.random.uniform(key, (num,), minval=-jnp.pi, maxval=jnp.pi)


def _inverse_matrices(p: AugmentParameters, height: int, width: int) -> Float[Array, 'n 3 3']:
    """Return the matrices that map a pixel of the result to its source, (x, y, 1) in pixels from the centre."""
    scale, stretch = jnp.exp2(-SCALE_STD * p.scale), jnp.exp2(-SCALE_STD * p.stretch)
    shift = -TRANSLATION_STD * p.translation * jnp.array([width, height])
    axis = _rotations(p.stretch_axis)
    steps = (
        _affine(scale, scale),
        _rotations(p.rotation),
        jnp.swapaxes(axis, 1, 2) @ _affine(stretch, 1 / stretch) @ axis,
        _affine(jnp.ones_like(scale), jnp.ones_like(scale), shift),
    )
    result = steps[0]
    for step in steps[1:]:
        result = result @ step
    return result


def _affine(x: Array, y: Array, shift: Array | None = None) -> Float[Array, 'n 3 3']:
    """Return the matrices that multiply x and y by numbers ``[N]``, and then add ``shift`` ``[N, 2]``."""
    matrix = jnp.zeros((len(x), 3, 3), x.dtype).at[:, 0, 0].set(x).at[:, 1, 1].set(y).at[:, 2, 2].set(1)
    return matrix if shift is None else matrix.at[:, :2, 2].set(shift)


def _rotations(angle: Float[Array, ' n']) -> Float[Array, 'n 3 3']:
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.stack([jnp.stack([cos, -sin], 1), jnp.stack([sin, cos], 1)], 1)
    return _affine(cos, cos).at[:, :2, :2].set(turn)


def _enlarged_lookup(inverse: Float[Array, 'n 3 3'], height: int, width: int) -> tuple[Array, Array]:
    """Return the row and column of the enlarged, padded image for each pixel of the enlarged result and its margin."""

    def from_centre(size: int) -> Array:
        """Return the coordinates of the enlarged pixels in pixels of the image; sample 2i is the image's pixel i."""
        return jnp.arange(-2 * MARGIN, 2 * (size + MARGIN)) / 2 - (size - 1) / 2

    y, x = jnp.meshgrid(from_centre(height), from_centre(width), indexing='ij')
    source_x, source_y, _ = jnp.einsum('nij,jhw->inhw', inverse, jnp.stack([x, y, jnp.ones_like(x)]))
    return tuple(2 * (source + (size - 1) / 2 + size - 1) for source, size in ((source_y, height), (source_x, width)))


def _along_axes(images: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    """Multiply the columns of each image by ``rows``, and its rows by ``columns``."""
    tall = jnp.einsum('ph,nhwc->npwc', jnp.asarray(rows, images.dtype), images)
    return jnp.einsum('qw,npwc->npqc', jnp.asarray(columns, images.dtype), tall)


def _enlarging(size: int) -> np.ndarray:
    """Return the matrix that adds ``size - 1`` mirrored pixels at both ends and doubles the resolution."""
    padded = np.pad(np.eye(size), ((size - 1, size - 1), (0, 0)), mode='reflect')
    spread = np.zeros((2 * len(padded), size))
    spread[::2] = padded
    return np.stack([np.convolve(column, SYM6)[_OFFSET : _OFFSET + len(spread)] for column in spread.T], axis=1)


_OFFSET = len(SYM6) // 2 - 1


def _reducing(size: int) -> np.ndarray:
    """Return the matrix that halves the resolution of an enlarged result, and cuts off its margin."""
    matrix = np.zeros((size, 2 * (size + 2 * MARGIN)))
    for i in range(size):
        start = 2 * (i + MARGIN) - _OFFSET
        matrix[i, start : start + len(SYM6)] = SYM6
    return matrix


def _bilinear(images: Float[Array, 'n h w c'], rows: Array, columns: Array) -> Float[Array, 'n p q c']:
    """Interpolate images at given rows and columns ``[N, P, Q]``; the result is 0 beyond the borders."""
    total = jnp.zeros(())
    for row, row_share in _neighbours(rows):
        for column, column_share in _neighbours(columns):
            total += (row_share * column_share)[..., None] * _lookup(images, row, column)
    return total


def _neighbours(positions: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return the whole numbers below and above each position, with their weights in the interpolation."""
    below = jnp.floor(positions)
    share = positions - below
    return (below, 1 - share), (below + 1, share)


def _lookup(images: Array, rows: Array, columns: Array) -> Array:
    n, height, width, _ = images.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    row = jnp.clip(rows, 0, height - 1).astype(jnp.int32)
    column = jnp.clip(columns, 0, width - 1).astype(jnp.int32)
    return jnp.where(inside[..., None], images[jnp.arange(n)[:, None, None], row, column], 0)
