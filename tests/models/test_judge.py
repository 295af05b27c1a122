"""The classifier against PyTorch's layers with the same random weights, and against numbers computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional

from jaxgen.models import classifier as judge
from jaxgen.models.classifier import Classifier


def parameters(channels, widths, classes):
    """Count the parameters of 3x3 convolutions, of two biases per block, and of a head without biases."""
    inputs = [8 * channels, *widths]
    blocks = sum(9 * a * b + 9 * b * b + 2 * b for a, b in zip(inputs, widths, strict=False))
    return blocks + widths[-1] * classes


@pytest.mark.parametrize(('side', 'channels', 'widths'), [(32, 3, (64, 256, 256)), (8, 1, (32, 64)), (64, 3, (8,) * 4)])
def test_shapes_and_the_number_of_parameters(side, channels, widths):
    network, images = Classifier(10, widths), jnp.zeros((2, side, side, channels))
    (features, logits), variables = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
    assert features.shape == (2, widths[-1]) and logits.shape == (2, 10)
    count = sum(x.size for x in jax.tree.leaves(variables['params']))
    assert count == parameters(channels, widths, 10)
    assert count == 1_971_328 or widths != (64, 256, 256)


@pytest.mark.parametrize('channels', [1, 3])
def test_the_basis_is_orthonormal_and_begins_with_the_mean(channels):
    basis = judge.patch_basis(channels)
    flat = basis.reshape(4 * channels, -1)
    np.testing.assert_allclose(flat.T @ flat, np.eye(4 * channels), atol=1e-12)
    np.testing.assert_allclose(basis[..., 0], (4 * channels) ** -0.5)
    constant = np.ones((2, 2, channels)) * np.arange(1, channels + 1)
    seen = np.tensordot(constant, basis, 3)
    assert abs(seen[channels:]).max() < 1e-12  # a patch of one colour has no differences


@pytest.mark.parametrize(('inputs', 'outputs'), [(3, 5), (5, 3)])
def test_a_new_convolution_copies_its_input(inputs, outputs):
    x = np.random.default_rng(0).normal(size=(2, 4, 4, inputs)).astype(np.float32)
    kernel = judge.identity(jax.random.key(0), (3, 3, inputs, outputs), jnp.float32)
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
    same = min(inputs, outputs)
    np.testing.assert_allclose(y[..., :same], x[..., :same], atol=1e-6)
    rest = kernel[..., same:]
    bound = (9 * inputs) ** -0.5
    assert outputs <= inputs or (abs(rest).max() <= bound and rest.std() > bound / 3)


@pytest.mark.parametrize('side', [4, 7])
def test_pooling_and_its_gradient_are_pytorchs(side):
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(2, side, side, 3)), rng.normal(size=(2, side // 2, side // 2, 3))
    with jax.enable_x64(True):
        pooled, backward = jax.vjp(judge.halved, jnp.asarray(x))
        (gradient,) = backward(jnp.asarray(weight))
    theirs = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    expected = functional.max_pool2d(theirs, 2)
    expected.backward(torch.tensor(weight.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(pooled, expected.detach().numpy().transpose(0, 2, 3, 1))
    np.testing.assert_allclose(gradient, theirs.grad.numpy().transpose(0, 2, 3, 1))


class Reference:
    """The same network in PyTorch's functions and in NCHW; it reads and updates a tree of variables."""

    def __init__(self, variables, train):
        self.params, self.train = variables['params'], train
        self.stats = jax.tree.map(torch.tensor, variables['batch_stats'])

    def norm(self, x, name):
        stats, bias = self.stats[name], self.params.get(name, {}).get('bias')
        return functional.batch_norm(x, stats['mean'], stats['var'], None, bias, self.train, momentum=0.4, eps=1e-12)

    def conv(self, x, name):
        return functional.conv2d(x, self.params[name]['kernel'].permute(3, 2, 0, 1), padding=1)

    def __call__(self, x):
        basis = torch.tensor(judge.patch_basis(x.shape[1]).transpose(3, 2, 0, 1))
        x = self.norm(functional.conv2d(x, basis), 'whiten')
        x = functional.gelu(torch.cat([x, -x], 1))
        for i in range(sum('conv' in name for name in self.params) // 2):
            x = functional.max_pool2d(self.conv(x, f'conv_{i}_0'), 2)
            x = functional.gelu(self.norm(x, f'norm_{i}_0'))
            x = functional.gelu(self.norm(self.conv(x, f'conv_{i}_1'), f'norm_{i}_1'))
        features = x.amax((2, 3))
        return features, features @ self.params['head']['kernel'] / 9


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize(('side', 'channels', 'widths'), [(18, 3, (6, 5, 8)), (8, 1, (3, 4))])
def test_outputs_statistics_and_gradients_are_pytorchs(side, channels, widths, train):
    rng = np.random.default_rng(1)
    network = Classifier(4, widths, jnp.float64, jnp.float64)
    images = rng.uniform(-1, 1, (5, side, side, channels))
    with jax.enable_x64(True):
        shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.asarray(images))
        variables = jax.tree.map(lambda s: rng.uniform(0.1, 0.9, s.shape) - 0.3, shapes['params'])
        variables = {
            'params': variables,
            'batch_stats': jax.tree.map(lambda s: rng.uniform(0.5, 2, s.shape), shapes['batch_stats']),
        }

        def run(params):
            (features, logits), changed = network.apply(
                {**variables, 'params': params}, images, train=train, mutable=['batch_stats']
            )
            return jnp.sum(logits**2), (features, logits, changed['batch_stats'])

        grads, (features, logits, stats) = jax.jit(jax.grad(run, has_aux=True))(variables['params'])

    params = jax.tree.map(lambda x: torch.tensor(x, requires_grad=True), variables['params'])
    reference = Reference({**variables, 'params': params}, train)
    their_features, their_logits = reference(torch.tensor(images.transpose(0, 3, 1, 2)))
    (their_logits**2).sum().backward()
    np.testing.assert_allclose(features, their_features.detach().numpy(), rtol=1e-9)
    np.testing.assert_allclose(logits, their_logits.detach().numpy(), rtol=1e-9)
    for got, expected in zip(jax.tree.leaves(stats), jax.tree.leaves(reference.stats), strict=True):
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-9)
    for got, expected in zip(jax.tree.leaves(grads), jax.tree.leaves(params), strict=True):
        expected = expected.grad.numpy()
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9 * abs(expected).max())


def test_bfloat16_is_near():
    network, images = Classifier(4, (8, 8)), np.random.default_rng(0).uniform(-1, 1, (4, 9, 9, 3))
    variables = jax.jit(network.init)(jax.random.key(0), images)
    exact, near = (
        jax.jit(network.clone(dtype=dtype).apply)(variables, images) for dtype in (jnp.float32, jnp.bfloat16)
    )
    for a, b in zip(exact, near, strict=True):
        assert b.dtype == jnp.float32
        np.testing.assert_allclose(b, a, atol=0.05 * abs(a).max())
