"""The plain convolutional network against PyTorch's operations with the same random weights, and its receptive field."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional

from jaxgen.models.cnn import CNN
from jaxgen.models.layers import GroupNorm
from tests.helpers.networks import equations, init, random_params, shapes

TINY = {'base_channels': 8, 'num_blocks': 1, 'norm_groups': 4, 'dropout': 0.0}
T = np.array([1, 700])


@functools.cache
def tiny(**kwargs):
    network = CNN(**{**TINY, **kwargs})
    return network, random_params(network), np.random.default_rng(3).normal(size=(2, 5, 7, 3)).astype(np.float32)


def parameters(channels, width, blocks, classes, patch=1):
    """Count the parameters of 3x3 convolutions with biases, norms, and the layers of time and label."""
    ends = 9 * width * 2 * channels * patch**2 + width + channels * patch**2
    block = 2 * (9 * width**2 + width) + 2 * 2 * width + 4 * width**2 + width
    embedding = width * 4 * width + (4 * width) ** 2 + 2 * 4 * width + classes * 4 * width
    return ends + blocks * block + embedding + 2 * width


@pytest.mark.parametrize(
    ('network', 'count'),
    [
        (CNN(), parameters(3, 128, 8, 0)),
        (CNN(out_channels=1, base_channels=32, num_blocks=3, num_classes=10), parameters(1, 32, 3, 10)),
        (CNN(base_channels=64, num_blocks=2, patch_size=4), parameters(3, 64, 2, 0, patch=4)),
    ],
)
def test_the_number_of_parameters(network, count):
    params = shapes(network, 8)
    assert sum(x.size for x in jax.tree.leaves(params)) == count


def reference(network, params, x, t, labels):
    """Return the output of PyTorch's operations; images and output are [N, C, H, W]."""
    p = jax.tree.map(torch.from_numpy, params)

    def dense(name, h, within=p):
        return h @ within[name]['kernel'] + within[name]['bias']

    def conv(name, h, within=p):
        return functional.conv2d(h, within[name]['kernel'].permute(3, 2, 0, 1), within[name]['bias'], padding=1)

    def norm(name, h, within=p):
        of = within[name]['norm']
        return functional.silu(functional.group_norm(h, network.norm_groups, of['scale'], of['bias'], network.norm_eps))

    half = network.base_channels // 2
    angles = t[:, None] * 10000.0 ** -(torch.arange(half, dtype=torch.float64) / (half - network.freq_shift))
    waves = (torch.cos, torch.sin) if network.flip_sin_to_cos else (torch.sin, torch.cos)
    emb = dense('time2', functional.silu(dense('time1', torch.cat([wave(angles) for wave in waves], 1))))
    if network.num_classes:
        emb = emb + p['label']['embedding'][labels]

    patch = network.patch_size
    h = functional.pixel_unshuffle(x, patch)  # PyTorch orders channels before places in the patch
    h = h.unflatten(1, (-1, patch**2)).transpose(1, 2).flatten(1, 2)
    h = conv('conv_in', h)
    for i in range(network.num_blocks):
        block = p[f'block{i}']
        y = conv('conv1', norm('norm1', h, block), block)
        y = y + dense('emb', functional.silu(emb), block)[:, :, None, None]
        h = h + conv('conv2', norm('norm2', y, block), block)
    h = conv('conv_out', norm('norm_out', h))
    return functional.pixel_shuffle(h.unflatten(1, (patch**2, -1)).transpose(1, 2).flatten(1, 2), patch)


@pytest.mark.parametrize(
    ('fields', 'sides'),
    [
        ({'num_blocks': 3}, (5, 7)),
        ({'num_classes': 3, 'norm_eps': 0.1, 'freq_shift': 0, 'flip_sin_to_cos': True}, (3, 4)),
        ({'num_classes': 3, 'patch_size': 2, 'num_blocks': 2}, (6, 10)),
    ],
)
def test_agrees_with_pytorch(fields, sides):
    """Some sides are not powers of two."""
    rng = np.random.default_rng(0)
    x, t, labels = rng.normal(size=(3, *sides, 3)), np.array([0, 17, 999]), np.array([0, 2, 1])
    with jax.enable_x64(True):
        network = CNN(**{**TINY, **fields}, dtype=jnp.float64, param_dtype=jnp.float64)
        params = random_params(network)
        got = np.asarray(jax.jit(network.apply)({'params': params}, x, t, labels))
    images = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    expected = reference(network, params, images, torch.from_numpy(t), torch.from_numpy(labels))
    assert got.dtype == np.float64 and expected.std() > 0.1
    np.testing.assert_allclose(got, expected.numpy().transpose(0, 2, 3, 1), atol=1e-9)


def test_starts_at_zero():
    network, _, x = tiny()
    out = jax.jit(network.apply)({'params': init(network, 5)}, x, T)
    assert 0 < abs(out).max() < 1e-4


def test_a_pixel_depends_on_the_square_around_it_and_on_the_statistics():
    """The square has 1 + 2 * 4 pixels for four convolutions; without the norms, a pixel depends on nothing else."""
    network, params, _ = tiny()
    x = np.random.default_rng(4).normal(size=(1, 11, 13, 3)).astype(np.float32)

    def without_norms(method, args, kwargs, context):
        return args[0] if isinstance(context.module, GroupNorm) else method(*args, **kwargs)

    def seen():
        gradient = jax.jit(jax.grad(lambda x: network.apply({'params': params}, x, T[:1])[0, 5, 6, 0]))(x)
        return np.any(np.asarray(gradient[0]), axis=-1)

    square = np.zeros((11, 13), bool)
    square[1:10, 2:11] = True
    with nn.intercept_methods(without_norms):
        np.testing.assert_array_equal(seen(), square)
    assert seen().all()


def test_bfloat16_keeps_norms_and_parameters_in_float32():
    network, params, x = tiny(dtype=jnp.bfloat16)
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    apply = functools.partial(jax.jit(network.apply), {'params': params})
    out, full = apply(x, T), jax.jit(tiny()[0].apply)({'params': params}, x, T)
    assert out.dtype == jnp.float32
    assert 0 < abs(out - full).max() < 0.1 * abs(full).max()

    seen = {}
    equations(jax.make_jaxpr(apply)(x, T).jaxpr, seen)
    assert seen['rsqrt'] == {'float32'} and seen['conv_general_dilated'] == {'bfloat16'}
