"""Convolutions that change the resolution, against PyTorch's in float64, in the form of each platform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional

from jaxgen.models import convolutions

# Enough features for the form that CPUs use, and too few.
SHAPES = [(3, 16), (5, 3)]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def pytorch(function, x, kernel, weights):
    """Return the output and the gradients of its product with ``weights``, as arrays in jaxgen's layout."""
    x = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    kernel = torch.tensor(kernel, requires_grad=True)
    y = function(x, kernel)
    y.backward(torch.tensor(weights.transpose(0, 3, 1, 2)))
    return [z.detach().numpy() for z in (y.permute(0, 2, 3, 1), x.grad.permute(0, 2, 3, 1), kernel.grad)]


def ours(function, x, kernel, weights):
    y, backward = jax.vjp(function, jnp.asarray(x), jnp.asarray(kernel))
    return [y, *backward(jnp.asarray(weights))]


def assert_close(mine, theirs):
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-11)


@pytest.mark.parametrize(('inputs', 'features'), [*SHAPES, (16, 5)])
def test_strided_conv_is_pytorchs(inputs, features):
    x, kernel, weights = random(2, 6, 8, inputs), random(4, 4, inputs, features), random(2, 3, 4, features)
    theirs = pytorch(lambda x, k: functional.conv2d(x, k.permute(3, 2, 0, 1), stride=2, padding=1), x, kernel, weights)
    assert_close(ours(convolutions.strided_conv, x, kernel, weights), theirs)


@pytest.mark.parametrize(('inputs', 'features'), SHAPES)
def test_transposed_conv_is_pytorchs(inputs, features):
    x, kernel, weights = random(2, 3, 4, inputs), random(4, 4, inputs, features), random(2, 6, 8, features)

    def theirs(x, kernel):
        return functional.conv_transpose2d(x, kernel.permute(2, 3, 0, 1), stride=2, padding=1)

    expected = pytorch(theirs, x, kernel, weights)
    assert_close(ours(convolutions.transposed_conv, x, kernel, weights), expected)
    np.testing.assert_allclose(convolutions._dilated(x, kernel), expected[0], atol=1e-11)
    np.testing.assert_allclose(convolutions._by_phases(x, kernel), expected[0], atol=1e-11)


def test_upsample_conv_is_pytorchs_of_the_enlarged_image():
    x, kernel, weights = random(2, 3, 4, 5), random(3, 3, 5, 6), random(2, 6, 8, 6)

    def theirs(x, kernel):
        enlarged = functional.interpolate(x, scale_factor=2, mode='nearest')
        return functional.conv2d(enlarged, kernel.permute(3, 2, 0, 1), padding=1)

    expected = pytorch(theirs, x, kernel, weights)
    assert_close(ours(convolutions.upsample_conv, x, kernel, weights), expected)
    assert_close(ours(convolutions._enlarged, x, kernel, weights), expected)


@pytest.mark.parametrize('name', ['strided_conv', 'transposed_conv'])
def test_gradients_of_gradients_are_right(name):
    """The R1 penalty differentiates a gradient: finite differences of the first gradient give the second."""
    function = getattr(convolutions, name)
    x, kernel, direction = random(1, 4, 4, 2), random(4, 4, 2, 16, seed=1), random(4, 4, 2, 16, seed=2)

    def slope(kernel):
        return jnp.sum(jax.grad(lambda x: jnp.sum(jnp.tanh(function(x, kernel))))(x) ** 2)

    step = 1e-5
    numeric = (slope(kernel + step * direction) - slope(kernel - step * direction)) / (2 * step)
    np.testing.assert_allclose(jnp.vdot(jax.grad(slope)(jnp.asarray(kernel)), direction), numeric, rtol=1e-6)


@pytest.mark.parametrize('name', ['strided_conv', 'upsample_conv'])
def test_cpus_get_no_convolution_of_a_dilated_image(name):
    size = 3 if name == 'upsample_conv' else 4
    x, kernel = jnp.zeros((2, 8, 8, 16)), jnp.zeros((size, size, 16, 16))

    def loss(x, kernel):
        return jnp.sum(getattr(convolutions, name)(x, kernel) ** 2)

    program = jax.jit(jax.grad(loss, (0, 1))).lower(x, kernel).compile().as_text()
    assert 'convolution(' in program
    assert 'lhs_dilate' not in program
