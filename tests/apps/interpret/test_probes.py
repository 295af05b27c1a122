"""The networks of tiny models as they are probed, against the definitions of a diffusion model and of a GAN."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.apps.interpret.activations import block_activations
from jaxgen.apps.interpret.denoising import unconditional_classes
from jaxgen.apps.interpret.probes import probes_of
from jaxgen.apps.untrained import build_method
from tests.helpers.interpretation import interpret_config


def captured(network, variables, *inputs):
    """Return what Flax captures of each submodule."""
    _, state = network.apply(variables, *inputs, capture_intermediates=True, mutable=['intermediates'])
    return {name: kept['__call__'][0] for name, kept in state['intermediates'].items() if isinstance(kept, dict)}


IMAGES = np.random.default_rng(3).uniform(-1, 1, (6, 8, 8, 1)).astype(np.float32)
LABELS, KEYS = np.array([0, 3, 5, 9, 3, 1], np.int32), jax.random.split(jax.random.key(2), 6)


def test_a_denoiser_is_probed_on_noisy_images(ddpm):
    """The levels are every second of six timesteps of a sampler, the noisiest first; their noise is that of DDPM."""
    trained, _ = ddpm
    method = dataclasses.replace(trained.method, prediction='eps')  # the network's input is the noisy image itself
    variables = {'params': trained.model.ema}
    with_class, without_class = probes_of(dataclasses.replace(trained, method=method), variables, 3)
    assert with_class.levels == without_class.levels == ('t=16', 't=9', 't=2')
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 20))
    for number, t in enumerate((16, 9, 2)):
        noise = np.stack([jax.random.normal(jax.random.fold_in(key, number), (8, 8, 1)) for key in KEYS])
        noisy = np.sqrt(kept[t]) * IMAGES + np.sqrt(1 - kept[t]) * noise
        got = block_activations(with_class.forward, variables, IMAGES, LABELS, KEYS, number)
        expected = captured(method.network, variables, noisy.astype(np.float32), np.full(6, t, np.float32), LABELS)
        assert list(got) == ['conv_in', 'block0', 'norm_out']
        for block, value in got.items():
            np.testing.assert_allclose(value, expected[block], atol=1e-4)

    def of_block(probe, labels):
        return block_activations(probe.forward, variables, IMAGES, labels, KEYS, 1)['block0']

    np.testing.assert_array_equal(of_block(without_class, LABELS), of_block(without_class, LABELS[::-1]))
    of_each = jax.vmap(lambda k: of_block(with_class, jnp.full(6, k)))(jnp.arange(10))
    same = np.abs(of_each - of_block(without_class, LABELS)).max((2, 3, 4)) < 1e-5
    assert np.all(same.sum(0) == 1) and len(set(same.argmax(0))) > 2  # each is given one of them at random


def test_the_networks_of_a_gan_are_probed_as_they_train(dcgan):
    trained, _ = dcgan
    method, network = trained.method, trained.model.discriminator
    variables = trained.sampler().variables(trained.model)
    generator, discriminator = probes_of(trained, variables, 2)
    latents = np.stack([jax.random.normal(key, (6,)) for key in KEYS])
    got = block_activations(generator.forward, variables, IMAGES, LABELS, KEYS, 0)
    expected = captured(method.generator, variables, latents, LABELS)
    own = captured(method.discriminator, {'params': network.params, **network.stats}, IMAGES, LABELS)
    discriminated = block_activations(discriminator.forward, discriminator.variables, IMAGES, LABELS[::-1], KEYS, 0)
    assert list(got) == ['up_0', 'norm_0'] and list(discriminated) == ['down_0']
    for seen, kept in ((got, expected), (discriminated, own)):
        for block, value in seen.items():
            np.testing.assert_allclose(value, kept[block], atol=1e-5)
            assert np.ptp(np.asarray(value), 0).max() > 1e-3


def test_a_model_without_classes_is_probed_without_labels(ddpm):
    trained, _ = ddpm
    method = build_method(interpret_config('ddpm', **{'model.conditional': False}), (8, 8, 1), 10)
    unconditional = dataclasses.replace(trained, method=method)
    assert [probe.network for probe in probes_of(unconditional, {'params': trained.model.ema}, 2)] == ['cnn']
    assert unconditional_classes(unconditional) == (0,)
