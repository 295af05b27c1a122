"""Group normalisation against PyTorch's, for ordinary numbers, large means and constant images."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional

from jaxgen.models.layers import GroupNorm, group_moments

GROUPS, CHANNELS = 4, 12


def normalised(x, scale, bias):
    params = {'norm': {'scale': jnp.asarray(scale), 'bias': jnp.asarray(bias)}}
    return GroupNorm(GROUPS, epsilon=1e-5).apply({'params': params}, x)


def random(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize('mean', [0.0, 1.0, 1000.0])
def test_it_is_pytorchs_also_with_large_means(mean):
    x = random(2, 6, 5, CHANNELS, seed=0) + mean * (1 + np.arange(CHANNELS, dtype=np.float32) // 3)
    scale, bias = random(CHANNELS, seed=1), random(CHANNELS, seed=2)
    exact = torch.tensor(x.astype(np.float64).transpose(0, 3, 1, 2))
    theirs = functional.group_norm(exact, GROUPS, torch.tensor(scale).double(), torch.tensor(bias).double(), 1e-5)
    rounding = max(1.0, 4 * mean) * 2**-22  # rounding error of inputs and means of this size
    np.testing.assert_allclose(normalised(x, scale, bias), theirs.permute(0, 2, 3, 1), atol=4 * rounding)


def test_a_constant_image_becomes_the_bias():
    bias = random(CHANNELS, seed=2)
    y = normalised(np.full((2, 4, 4, CHANNELS), 123.456, np.float32), random(CHANNELS, seed=1), bias)
    np.testing.assert_array_equal(y, np.broadcast_to(bias, y.shape))


def test_bfloat16_is_normalised_in_float32():
    x = jnp.asarray(random(2, 4, 4, CHANNELS, seed=0) + 3, jnp.bfloat16)
    scale, bias = random(CHANNELS, seed=1), random(CHANNELS, seed=2)
    y = normalised(x, scale, bias)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, normalised(x.astype(jnp.float32), scale, bias).astype(jnp.bfloat16))


def test_moments_are_those_of_each_group():
    x = random(2, 4, 3, CHANNELS, seed=0) * np.arange(1, CHANNELS + 1) + np.arange(CHANNELS)
    grouped = x.reshape(2, -1, GROUPS, CHANNELS // GROUPS)
    for moment, expected in zip(group_moments(jnp.asarray(x), GROUPS), (np.mean, np.var), strict=True):
        expected = np.repeat(expected(grouped, axis=(1, 3)), CHANNELS // GROUPS, axis=1)
        np.testing.assert_allclose(moment[:, 0, 0], expected, rtol=1e-5)
