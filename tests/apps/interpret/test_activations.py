"""Blocks observed and changed from outside the networks, against plain means and against the weights that read them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.apps.interpret.activations import Probe, block_activations, channel_scaling, make_atlas
from jaxgen.data import Dataset
from jaxgen.models.cnn import CNN
from jaxgen.models.dcgan import Generator
from jaxgen.models.dit import DiT
from jaxgen.models.unet import UNet
from jaxgen.runtime.mesh import make_mesh


class Net(nn.Module):
    """A network whose blocks are out of alphabetical order; the label is no feature map, the last convolution the output."""

    @nn.compact
    def __call__(self, x, labels):
        h = nn.Conv(3, (3, 3), name='zebra')(x)
        h += nn.Embed(4, 3, name='label')(labels)[:, None, None]
        h = nn.Conv(5, (3, 3), name='ant')(nn.relu(h))
        return nn.Conv(1, (1, 1), name='out')(h)


RNG = np.random.default_rng(0)
DATA = Dataset(RNG.integers(0, 256, (37, 6, 6, 1), np.uint8), RNG.integers(0, 4, 37).astype(np.int32), tuple('abcd'))
VARIABLES = Net().init(jax.random.key(0), jnp.zeros((1, 6, 6, 1)), jnp.zeros(1, jnp.int32))


def forward(variables, images, labels, keys, level):
    return Net().apply(variables, images * (1 + level), labels)


PROBE = Probe('net', forward, VARIABLES, ('loud', 'louder'))


def test_blocks_are_the_feature_maps_in_the_order_of_their_calls():
    assert list(PROBE.blocks((6, 6, 1)).items()) == [('zebra', 3), ('ant', 5)]


@pytest.mark.parametrize('devices', [1, 8])
def test_the_atlas_is_the_mean_over_the_images_of_a_class(devices):
    """Flax captures the intermediates of all images at once, and NumPy computes their means."""
    mesh = make_mesh(devices=jax.devices()[:devices])
    counts = []
    atlas = make_atlas(PROBE, DATA, mesh, batch_size=16, key=jax.random.key(1), keep=20, progress=counts.append)
    assert counts == [16, 32, 37] and list(atlas.means) == ['zebra', 'ant']
    for level in (0, 1):
        x = (DATA.images / np.float32(127.5) - 1) * (1 + level)
        _, state = Net().apply(VARIABLES, x, DATA.labels, capture_intermediates=True)
        for block, got in atlas.means.items():
            each = np.asarray(state['intermediates'][block]['__call__'][0]).mean((1, 2))
            expected = [each[DATA.labels == k].mean(0) for k in range(4)]
            np.testing.assert_allclose(got[level], expected, atol=1e-5)
            np.testing.assert_allclose(atlas.kept[block][:, level], each[:20], atol=1e-5)
    np.testing.assert_array_equal(atlas.counts, np.bincount(DATA.labels))
    np.testing.assert_array_equal(atlas.labels, DATA.labels[:20])


def test_the_noise_on_an_image_depends_on_its_place_alone():
    def noisy(variables, images, labels, keys, level):
        noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(keys)
        return Net().apply(variables, noise, labels)

    probe = dataclasses.replace(PROBE, forward=noisy)
    one, eight = (
        make_atlas(probe, DATA, make_mesh(devices=jax.devices()[:n]), batch_size=size, key=jax.random.key(1), keep=37)
        for n, size in ((1, 40), (8, 8))
    )
    np.testing.assert_allclose(one.kept['ant'], eight.kept['ant'], atol=1e-5)


@pytest.mark.parametrize(
    ('network', 'names'),
    [
        (
            UNet(1, 8, (1, 2), 1, (4,), norm_groups=4),
            ('conv_in', 'down0_0', 'down1_0_attention', 'middle_0', 'norm_out'),
        ),
        (CNN(1, 8, 2, norm_groups=4), ('conv_in', 'block0', 'block1', 'norm_out')),
        (DiT(1, 8, 2, 2), ('patches', 'block0', 'block1')),
    ],
)
def test_the_blocks_of_every_denoiser(network, names):
    def call(x):
        return network.init_with_output(jax.random.key(0), x, jnp.zeros(2), jnp.zeros(2, jnp.int32))

    found = jax.eval_shape(lambda x: block_activations(call, x), jnp.zeros((2, 8, 8, 1)))
    assert set(names) <= set(found) and not {'conv_out', 'out', 'time1', 'modulation'} & set(found)
    assert all(x.ndim > 2 for x in found.values())


def test_ablating_a_channel_zeroes_the_weights_that_read_it():
    """The rectified output of ``norm_0`` is read by ``up_1`` alone."""
    network = Generator(16, 1, 4, 6)
    z, label = jax.random.normal(jax.random.key(1), (3, 6)), jnp.zeros(3, jnp.int32)
    variables = network.init(jax.random.key(0), z, label)
    params = variables['params']
    kernel = params['up_1']['kernel'].at[:, :, 3].set(0)
    expected = network.apply({**variables, 'params': {**params, 'up_1': {'kernel': kernel}}}, z, label)
    with nn.intercept_methods(channel_scaling({'norm_0': jnp.ones(8).at[3].set(0)})):
        got = network.apply(variables, z, label)
    np.testing.assert_allclose(got, expected, atol=1e-7)
    assert jnp.max(jnp.abs(got - network.apply(variables, z, label))) > 1e-7
