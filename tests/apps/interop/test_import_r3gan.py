"""State dicts of the official R3GAN into run directories and back."""

import json

import jax
import numpy as np
import pytest
import torch
from etils import epath
from safetensors.numpy import load_file, save_file

from jaxgen.apps.interop.r3gan_folder import load
from jaxgen.apps.restore import restore
from jaxgen.apps.stored_config import read
from jaxgen.cli import modes
from jaxgen.errors import UserError
from tests.helpers.r3gan_networks import r3gan_networks, randomise, state_dict
from tests.helpers.tutorial_networks import nchw
from tests.tiny import tiny_config

KINDS = ('generator', 'discriminator')
WIDTHS, GROUP, LATENT = (8, 4, 4), 4, 6


def command(**fields):
    return tiny_config('r3gan', **{'data.image_size': 8, **fields})


@pytest.fixture(scope='module', params=[10, 0])
def networks(request):
    pair = r3gan_networks(WIDTHS, GROUP, 2, LATENT, classes=request.param, channels=1)
    for network in pair:
        randomise(network, np.random.default_rng(0))
    return pair


@pytest.fixture
def folder(networks, tmp_path):
    """Return a folder in which the discriminator has the wrapper of the official training code."""
    path = tmp_path / 'theirs'
    path.mkdir()
    save_file(state_dict(networks[0]), path / 'generator.safetensors')
    wrapped = {f'Model.{name}': torch.from_numpy(x) for name, x in state_dict(networks[1]).items()}
    torch.save(wrapped, path / 'discriminator.pth')
    return path


def test_an_import_samples_and_exports_the_same_networks(networks, folder, tmp_path):
    """The run directory samples the generator's images, and its export equals the import bit for bit."""
    workdir = epath.Path(tmp_path / 'run')
    modes.run('import', command(**{'interop.path': str(folder)}), workdir)
    c = read(workdir / 'config.json', ['interop'])
    classes = networks[0].EmbeddingLayer is not None
    m = c.model
    assert (c.data.image_size, m.channels, m.num_blocks, m.group_size, m.latent_size) == (16, WIDTHS, 2, GROUP, LATENT)
    assert m.conditional == classes
    trained = restore(c, workdir)
    z, label = np.random.default_rng(1).normal(size=(3, LATENT)).astype('f'), np.arange(3, dtype=np.int32)
    variables = trained.method.sampling_variables(trained.model, jax.random.key(0), ema=True)
    images = jax.jit(trained.method.generator.apply)(variables, z, label)
    logits = jax.jit(trained.method.discriminate)(trained.model.discriminator.variables, images, label)
    with torch.no_grad():
        expected = networks[0](torch.from_numpy(z), torch.arange(3))
        judged = networks[1](nchw(images), torch.arange(3))
    np.testing.assert_allclose(np.moveaxis(images, 3, 1), expected, atol=1e-4 * abs(expected).max())
    np.testing.assert_allclose(logits, judged, atol=1e-4 * abs(judged).max())

    modes.run('export', c.replace({'interop.path': str(tmp_path / 'export')}), workdir)
    for kind, network in zip(KINDS, networks, strict=True):
        before, after = state_dict(network), load_file(tmp_path / 'export' / f'{kind}.safetensors')
        assert before.keys() == after.keys()
        for name, x in before.items():
            np.testing.assert_array_equal(after[name], x, err_msg=name)
            assert after[name].dtype == x.dtype
        network.load_state_dict({name: torch.from_numpy(x) for name, x in after.items()})
    arguments = json.loads((tmp_path / 'export' / 'config.json').read_text())
    assert arguments['generator'] == {
        'NoiseDimension': LATENT,
        'WidthPerStage': [8, 4, 4],
        'CardinalityPerStage': [4, 2, 2],
        'BlocksPerStage': [2, 2, 2],
        'ExpansionFactor': 2,
        'ConditionDimension': 10 if classes else None,
        'ConditionEmbeddingDimension': LATENT if classes else 0,
    }
    assert arguments['discriminator']['WidthPerStage'] == [4, 4, 8]


def test_a_generator_alone_gets_a_new_discriminator(networks, folder):
    (folder / 'discriminator.pth').unlink()
    imported = load(command(), folder)
    assert 'the discriminator is a new one' in imported.notes[-1]
    assert imported.model.discriminator.params['from_image']['kernel'].shape == (1, 4)


def test_wrong_tensors_are_named_and_leave_no_files(networks, folder, tmp_path):
    state = state_dict(networks[0])

    def refused(words, changes, **fields):
        changed = {name: x for name, x in {**state, **changes}.items() if x is not None}
        save_file(changed, folder / 'generator.safetensors')
        with pytest.raises(UserError, match=words):
            modes.run('import', command(**{'interop.path': str(folder), **fields}), epath.Path(tmp_path / 'run'))
        assert not (tmp_path / 'run').exists()

    block = 'MainLayers.1.Layers.2'
    refused(f'{block}.NonLinearity1.Bias is missing$', {f'{block}.NonLinearity1.Bias': None})
    wide = f'{block}.LinearLayer2.Layer.weight'
    refused(f'{wide} is 8x8x3x3, where', {wide: np.zeros((8, 8, 3, 3), 'f')})
    refused('AggregationLayer.Layer.weight is missing', {'AggregationLayer.Layer.weight': None})
    refused('config.data.name=cifar10 have 3', {}, **{'data.name': 'cifar10', 'data.image_size': 16})
    refused('belongs to no layer', {'MainLayers.0.bias': np.zeros(4, 'f')})
    refused('is no generator of R3GAN', dict.fromkeys(state))
    if networks[0].EmbeddingLayer is not None:
        few = {'EmbeddingLayer.weight': np.zeros((LATENT, 7), 'f')}
        refused('EmbeddingLayer.weight is for 7 classes, but config.data.name=digits has 10', few)
    (folder / 'generator.safetensors').unlink()
    with pytest.raises(UserError, match='holds neither generator.safetensors nor generator.pth'):
        load(command(), folder)
