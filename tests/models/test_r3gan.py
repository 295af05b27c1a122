"""The networks of R3GAN against a PyTorch transcription, with every tensor randomised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxgen.apps.interop import r3gan as interop
from jaxgen.models.convolutions import _group_by_group, _grouped, grouped_conv
from jaxgen.models.r3gan import GAIN, R3GANDiscriminator, R3GANGenerator, stage_channels
from jaxgen.models.resampling import bilinear_downsample, bilinear_upsample
from tests.helpers.r3gan_networks import Resampler, r3gan_networks, randomise, state_dict
from tests.helpers.tutorial_networks import nchw

KEY = jax.random.key(0)
LATENT, GROUP = 6, 4


def shapes_of(network, example, label=(0, 0)):
    return jax.eval_shape(lambda: network.init(KEY, example, np.asarray(label, np.int32)))['params']


def count(shapes):
    return sum(x.size for x in jax.tree.leaves(shapes))


@pytest.mark.parametrize('classes', [0, 5])
@pytest.mark.parametrize(('image_size', 'channels'), [(8, (8, 8)), (16, (16, 8)), (32, (12, 8, 8, 4))])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(np.float32, 1e-4), (np.float64, 1e-10)])
def test_the_networks_are_pytorchs(image_size, channels, classes, dtype, tolerance):
    rng = np.random.default_rng(0)
    widths = stage_channels(image_size, channels)
    generator, discriminator = r3gan_networks(widths, GROUP, 2, LATENT, classes=classes)
    for network in (generator, discriminator):
        network.double()
        randomise(network, rng)
        network.to(torch.from_numpy(np.zeros(0, dtype)).dtype)
    z = rng.normal(size=(3, LATENT)).astype(dtype)
    label = np.arange(3, dtype=np.int32)
    images = rng.uniform(-1, 1, (3, image_size, image_size, 3)).astype(dtype)

    with jax.enable_x64(dtype == np.float64):
        common = {'num_blocks': 2, 'group_size': GROUP, 'num_classes': classes, 'dtype': dtype, 'param_dtype': dtype}
        sampler = R3GANGenerator(image_size, 3, channels, latent_size=LATENT, **common)
        critic = R3GANDiscriminator(image_size, channels, **common)
        got = []
        for network, theirs, kind, example in (
            (sampler, generator, 'generator', z),
            (critic, discriminator, 'discriminator', images),
        ):
            shapes = shapes_of(network, example, label)
            state = state_dict(theirs)
            params = interop.from_official(state, kind, shapes)
            assert count(shapes) == sum(p.numel() for p in theirs.parameters())
            assert jax.tree.map(lambda s: s.shape, shapes) == jax.tree.map(lambda x: x.shape, params)
            back = interop.to_official(params, kind)
            assert back.keys() == state.keys()
            for name, x in state.items():
                np.testing.assert_array_equal(back[name], x, err_msg=name)
            got.append(np.asarray(jax.jit(network.apply)({'params': params}, example, label)))

    with torch.no_grad():
        expected = generator(torch.from_numpy(z), torch.arange(3)).permute(0, 2, 3, 1)
        logits = discriminator(nchw(images), torch.arange(3))
    for ours, theirs in zip(got, (expected.numpy(), logits.numpy()), strict=True):
        assert ours.dtype == dtype and abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * abs(theirs).max())


@pytest.mark.parametrize('classes', [0, 10])
def test_the_cifar_size_has_the_official_number_of_parameters(classes):
    with torch.device('meta'):
        networks = r3gan_networks([768] * 4, classes=classes)
    expected = [sum(p.numel() for p in network.parameters()) for network in networks]
    generator = shapes_of(R3GANGenerator(32, 3, num_classes=classes), np.zeros((2, 64)))
    discriminator = shapes_of(R3GANDiscriminator(32, num_classes=classes), np.zeros((2, 32, 32, 3)))
    assert [count(generator), count(discriminator)] == expected
    docstrings = R3GANGenerator.__doc__, R3GANDiscriminator.__doc__
    assert not classes or all(f'{n:,}' in text for n, text in zip(expected, docstrings, strict=True))


def test_the_initial_parameters_are_fix_up():
    """The mean and spread of each tensor are within five standard errors of the official initialisation."""
    channels, latent, classes, depth = (64, 32), 24, 10, 4
    generator = R3GANGenerator(8, 3, channels, 2, GROUP, latent, classes)
    discriminator = R3GANDiscriminator(8, channels, 2, GROUP, classes)
    label, gain = jnp.zeros(2, jnp.int32), GAIN * depth**-0.25
    made = {
        'generator': jax.jit(generator.init)(KEY, jnp.zeros((2, latent)), label)['params'],
        'discriminator': jax.jit(discriminator.init)(KEY, jnp.zeros((2, 8, 8, 3)), label)['params'],
    }
    made = jax.device_get(made)
    for kind, params in made.items():
        for path, values in jax.tree.leaves_with_path(params):
            *_, name = names = [key.key for key in path]
            std = values.shape[0] ** -0.5  # a linear map of all its inputs
            if name == 'basis':
                std = {'generator': 1, 'discriminator': 1 / 4}[kind]
            elif 'conv_1' in names:
                std *= gain
            elif name == 'conv_2':
                std = gain / np.sqrt(9 * GROUP)
            elif 'conv_3' in names or name.startswith('bias'):
                std = 0
            elif name == 'embedding' and kind == 'discriminator':
                std *= channels[0] ** -0.5
            error = std / np.sqrt(values.size)
            assert abs(values.mean()) <= 5 * error, names
            assert abs(values.std() - std) <= 5 * error, names


def test_stages_that_are_not_named_have_half_the_channels():
    assert stage_channels(8, (768,) * 4) == (768, 768)
    assert stage_channels(256, (768,) * 4) == (768, 768, 768, 768, 384, 192, 96)  # the official size for FFHQ
    with pytest.raises(ValueError, match='8, 16, 32, 64'):
        stage_channels(48, (768,))


def test_resampling_is_the_official_filter():
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 3))
    with jax.enable_x64(True):
        got = bilinear_upsample(x), bilinear_downsample(x)
    for ours, up in zip(got, (True, False), strict=True):
        theirs = Resampler()(nchw(x), up=up).permute(0, 2, 3, 1)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_grouped_convolutions_are_the_same_in_both_forms():
    """Compare values, gradients, and the gradient of a gradient penalty."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 5, 6, 12)), rng.normal(size=(3, 3, 4, 12))

    def penalty(conv):
        def squared(kernel, x):
            gradient = jax.grad(lambda x: jnp.sum(jnp.tanh(conv(x, kernel))))(x)
            return jnp.sum(gradient**2) + jnp.sum(jnp.tanh(conv(x, kernel)))

        return jax.jit(jax.value_and_grad(squared, (0, 1)))(kernel, x)

    with jax.enable_x64(True):
        one, *others = (penalty(conv) for conv in (_grouped, _group_by_group, grouped_conv))
    for other in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10), one, other)


def test_bfloat16_leaves_the_stage_of_four_pixels_in_float32():
    network = R3GANGenerator(8, 3, (8, 8), 1, GROUP, LATENT, dtype=jnp.bfloat16)
    program = jax.make_jaxpr(
        lambda: network.init_with_output(KEY, jnp.zeros((2, LATENT)), jnp.zeros(2, jnp.int32))[0]
    )()
    assert program.out_avals[0].dtype == jnp.float32
    _, state = jax.eval_shape(
        lambda: network.init_with_output(
            KEY, jnp.zeros((2, LATENT)), jnp.zeros(2, jnp.int32), capture_intermediates=True
        )
    )
    (first,), (second,) = (state['intermediates'][f'block_{stage}_0']['__call__'] for stage in (0, 1))
    assert first.dtype == jnp.float32 and second.dtype == jnp.bfloat16
