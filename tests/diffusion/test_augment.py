"""Augmentation that does not leak: against the formulas of its authors in PyTorch, exact cases, and its distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from jaxgen.diffusion import augment
from jaxgen.diffusion.augment import NUM_CONDITIONS, SYM6, AugmentParameters, sample_parameters, transform

KEY = jax.random.key(0)
NUM = 4000
UNLIKELY = 1e-3


def images(num, height, width, channels=3):
    return np.random.default_rng(0).uniform(-1, 1, (num, height, width, channels)).astype(np.float32)


def parameters(num, **changes):
    """Return parameters that change nothing, except for those in ``changes``."""
    zeros = {name: np.zeros(num, np.float32) for name in AugmentParameters._fields}
    zeros['translation'] = np.zeros((num, 2), np.float32)
    given = {name: np.asarray(value, np.float32) for name, value in changes.items()}
    return AugmentParameters(**zeros | given)


def matrix(rows):
    """Return matrices [N, 3, 3] from nested lists of numbers and tensors [N]."""
    num = max(x.numel() for row in rows for x in row if isinstance(x, torch.Tensor))
    return torch.stack([torch.stack([torch.as_tensor(x).expand(num) for x in row], -1) for row in rows], -2).double()


def rotate(angle):
    return matrix([[angle.cos(), -angle.sin(), 0.0], [angle.sin(), angle.cos(), 0.0], [0.0, 0.0, 1.0]])


def scale(x, y):
    return matrix([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]])


def shift(x, y):
    return matrix([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def published(x, p):
    """Apply the pipeline of Karras et al. 2022 (appendix F.2) with operations of PyTorch and the margin of their code."""
    x, p = torch.tensor(x).permute(0, 3, 1, 2).double(), AugmentParameters(*(torch.tensor(a).double() for a in p))
    n, c, h, w = x.shape
    x = torch.where(p.flip_x.reshape(n, 1, 1, 1) == 1, x.flip(3), x)
    x = torch.where(p.flip_y.reshape(n, 1, 1, 1) == 1, x.flip(2), x)
    s, k = (0.2 * p.scale).exp2(), (0.2 * p.stretch).exp2()
    turn = rotate(p.stretch_axis)
    g = scale(1 / s, 1 / s) @ rotate(p.rotation) @ turn.mT @ scale(1 / k, k) @ turn
    g = g @ shift(-p.translation[:, 0] * 0.125 * w, -p.translation[:, 1] * 0.125 * h)

    cx, cy = (w - 1) / 2, (h - 1) / 2
    corners = g @ torch.tensor([[-cx, cx, cx, -cx], [-cy, -cy, cy, cy], [1, 1, 1, 1]]).double()
    reach = torch.stack([-corners[:, 0], -corners[:, 1], corners[:, 0], corners[:, 1]]).flatten(1).max(1).values
    reach = (reach + torch.tensor([6 - cx, 6 - cy] * 2)).clamp(min=0)
    left, top, right, bottom = (int(v) for v in reach.minimum(torch.tensor([w - 1, h - 1] * 2)).ceil())
    x = F.pad(x, (left, right, top, bottom), mode='reflect')
    one = torch.ones(1).double()
    g = shift((left - right) / 2 * one, (top - bottom) / 2 * one) @ g

    taps = torch.tensor(SYM6)
    for axis in (3, 2):
        kernel = taps.reshape((1, 1, 1, 12) if axis == 3 else (1, 1, 12, 1)).tile(c, 1, 1, 1)
        stride, whole = ((1, 2), [slice(None)] * 3) if axis == 3 else ((2, 1), [slice(None)] * 2)
        size = 2 * x.shape[axis]
        x = F.conv_transpose2d(x, kernel, stride=stride, groups=c)[(*whole, slice(5, 5 + size))]
    g = shift(-0.5 * one, -0.5 * one) @ scale(2 * one, 2 * one) @ g @ scale(one / 2, one / 2) @ shift(one / 2, one / 2)
    height, width = 2 * (h + 6), 2 * (w + 6)
    g = scale(2 / x.shape[3] * one, 2 / x.shape[2] * one) @ g @ scale(width / 2 * one, height / 2 * one)
    grid = F.affine_grid(g[:, :2], [n, c, height, width], align_corners=False)
    x = F.grid_sample(x, grid, mode='bilinear', padding_mode='zeros', align_corners=False)
    x = F.conv2d(x, taps.reshape(1, 1, 1, 12).tile(c, 1, 1, 1), stride=(1, 2), padding=(0, 5), groups=c)[..., 3:-3]
    x = F.conv2d(x, taps.reshape(1, 1, 12, 1).tile(c, 1, 1, 1), stride=(2, 1), padding=(5, 0), groups=c)[:, :, 3:-3]
    return x.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize('shape', [(16, 16, 3), (12, 20, 1)])
def test_images_are_those_of_the_published_pipeline(shape):
    """One image is moved by its whole side, so that the margin of their code, which follows the batch, is the largest."""
    n, rng = 12, np.random.default_rng(1)
    angles = rng.uniform(-np.pi, np.pi, (2, n))
    p = parameters(
        n,
        flip_x=rng.integers(0, 2, n),
        flip_y=rng.integers(0, 2, n),
        scale=rng.normal(size=n),
        rotation=angles[0],
        stretch=rng.normal(size=n),
        stretch_axis=angles[1],
        translation=np.concatenate([[[9, 9], [-9, -9]], rng.normal(size=(n - 2, 2))]),
    )
    x = images(n, *shape)
    np.testing.assert_allclose(jax.jit(transform)(x, p), published(x, p), atol=2e-4)


def test_zeros_do_not_change_the_image():
    x, p = images(3, 16, 12), parameters(3)
    np.testing.assert_allclose(transform(x, p), x, atol=1e-5)
    np.testing.assert_array_equal(p.conditions(), np.zeros((3, NUM_CONDITIONS)))
    turned = parameters(3, stretch_axis=[1.0, 2.0, 3.0])  # the axis of no stretch
    np.testing.assert_allclose(transform(x, turned), x, atol=1e-5)
    np.testing.assert_array_equal(turned.conditions(), np.zeros((3, NUM_CONDITIONS)))


def test_mirrors_and_whole_pixels_are_exact():
    x = images(1, 16, 16)
    for change, expected in (
        ({'flip_x': [1]}, x[:, :, ::-1]),
        ({'flip_y': [1]}, x[:, ::-1]),
        ({'translation': [[1, 0]]}, np.concatenate([x[:, :, 2:0:-1], x[:, :, :-2]], 2)),  # an eighth of 16 to the right
        ({'translation': [[0, -0.5]]}, np.concatenate([x[:, 1:], x[:, -2:-1]], 1)),  # a pixel up
    ):
        np.testing.assert_allclose(transform(x, parameters(1, **change)), expected, atol=1e-4)


def test_a_smooth_picture_turns_counterclockwise_and_grows():
    """A bell of 16 by 12 pixels off the centre; to a tenth of a pixel: the filter is not symmetric."""

    def bell(x, y, width, height):
        rows, columns = np.indices((48, 48)) - 23.5
        return np.exp(-(((columns - x) / width) ** 2) - ((rows - y) / height) ** 2)[None, :, :, None]

    slope = (2 / np.e) ** 0.5 / 6  # largest slope of the bell
    start = bell(3, 0, 8, 6)
    for change, expected in (
        ({'rotation': [np.pi / 2]}, bell(0, -3, 6, 8)),
        ({'scale': [1.5]}, bell(3 * 2**0.3, 0, 8 * 2**0.3, 6 * 2**0.3)),
        ({'stretch': [-1.5]}, bell(3 * 2**-0.3, 0, 8 * 2**-0.3, 6 * 2**0.3)),
        ({'stretch': [-1.5], 'stretch_axis': [np.pi / 2]}, bell(3 * 2**0.3, 0, 8 * 2**0.3, 6 * 2**-0.3)),
    ):
        inner = slice(None), slice(8, -8), slice(8, -8)  # where nothing mirrored is in sight
        made = transform(start, parameters(1, **change))
        np.testing.assert_allclose(made[inner], expected[inner], atol=0.1 * slope)


def test_the_filter_is_orthogonal_to_itself_at_even_shifts():
    shifted = [np.dot(SYM6[: 12 - 2 * k], SYM6[2 * k :]) for k in range(6)]
    np.testing.assert_allclose(shifted, [1, 0, 0, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(SYM6.sum(), 2**0.5, atol=1e-12)


def test_conditions_describe_the_transformation():
    p = parameters(
        1, flip_x=[1], flip_y=[1], scale=[2], rotation=[0.3], stretch=[-1], stretch_axis=[0.5], translation=[[3, 4]]
    )
    stretch = -np.array([np.cos(0.5), np.sin(0.5)])
    expected = [1, 1, 2, np.cos(0.3) - 1, np.sin(0.3), *stretch, 3, 4]
    np.testing.assert_allclose(p.conditions()[0], expected, rtol=1e-6)


def test_parameters_have_the_published_distribution():
    p = sample_parameters(KEY, NUM, 0.3)
    assert stats.binomtest(int(p.flip_x.sum()), NUM, 0.5).pvalue > UNLIKELY
    assert stats.binomtest(int(p.flip_y.sum()), NUM, 0.15).pvalue > UNLIKELY
    normal, uniform = stats.norm.cdf, stats.uniform(-np.pi, 2 * np.pi).cdf
    moved = p.translation.any(1)
    np.testing.assert_array_equal(moved, p.translation.all(1))
    for values, share, cdf in (
        (p.scale, 0.3, normal),
        (p.rotation, 0.3, uniform),
        (p.stretch, 0.3, normal),
        (p.stretch_axis, 0.5, uniform),
        (p.translation[:, 0], 0.3, normal),
        (p.translation[:, 1], 0.3, normal),
    ):
        changed = np.asarray(values[values != 0])
        assert stats.binomtest(len(changed), NUM, share).pvalue > UNLIKELY
        assert stats.kstest(changed, cdf).pvalue > UNLIKELY
    happened = np.stack([p.scale != 0, p.rotation != 0, p.stretch != 0, p.stretch_axis != 0, moved])
    pairs = np.corrcoef(np.concatenate([happened, p.flip_x[None], p.flip_y[None]]))
    assert abs(pairs - np.eye(7)).max() < 4 / NUM**0.5
    assert abs(np.corrcoef(*p.translation[moved].T)[0, 1]) < 4 / moved.sum() ** 0.5


def test_without_probability_only_the_horizontal_mirror_is_left():
    p = sample_parameters(KEY, 50, 0.0)
    conditions = np.asarray(p.conditions())
    assert set(conditions[:, 0]) == {0, 1} and not conditions[:, 1:].any()


def test_lookup_is_zero_beyond_the_border():
    x = jnp.arange(1.0, 5.0).reshape(1, 2, 2, 1)
    rows, columns = jnp.array([[[0.0, 0.5, 1.5]]]), jnp.array([[[0.5, 0.0, 1.0]]])
    np.testing.assert_allclose(augment._bilinear(x, rows, columns)[0, 0, :, 0], [1.5, 2.0, 2.0])
