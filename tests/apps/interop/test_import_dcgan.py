"""State dicts of the PyTorch tutorial's DCGAN into workdirs and back."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import torch
from etils import epath
from safetensors.numpy import load_file, save_file

from jaxgen.apps.interop import dcgan, tutorial_folder
from jaxgen.apps.restore import restore
from jaxgen.apps.stored_config import read
from jaxgen.cli import modes
from jaxgen.errors import UserError
from tests.helpers.tutorial_networks import nchw, randomise, tutorial_networks
from tests.tiny import tiny_config


def state_dict(network):
    """Return the tensors with the names of the tutorial, whose networks have all layers in ``main``."""
    return {f'main.{name}': x.numpy().copy() for name, x in network.state_dict().items()}


def command(**fields):
    """Return the config of a command whose network fields differ from those of the imported networks."""
    return tiny_config('dcgan', **{'data.image_size': 8, 'model.spectral_norm': True, **fields})


@pytest.fixture(scope='module')
def networks():
    """Return networks for images of 16 pixels a side, with ngf=4, nz=6 and nc=1; every tensor is random."""
    pair = tutorial_networks(16, ngf=4, nz=6, nc=1)
    for network in pair:
        randomise(network, np.random.default_rng(0))
        for p in network.parameters():
            p.data *= 1 if p.ndim == 1 else 4  # otherwise the output of so small a network hardly varies
        network.eval()
    return pair


@pytest.fixture
def folder(networks, tmp_path):
    path = tmp_path / 'theirs'
    path.mkdir()
    save_file(state_dict(networks[0]), path / 'generator.safetensors')
    torch.save({k: torch.from_numpy(v) for k, v in state_dict(networks[1]).items()}, path / 'discriminator.pth')
    return path


def assert_is_theirs(method, model, networks):
    z = np.random.default_rng(1).normal(size=(3, 6)).astype('f')
    variables = jax.jit(lambda m: method.sampling_variables(m, jax.random.key(0), ema=True))(model)
    images = jax.jit(method.generator.apply)(variables, z, np.zeros(3, np.int32))
    player = model.discriminator
    judge = jax.jit(method.discriminator.apply)
    logits = judge({'params': player.params, **player.stats}, images, np.zeros(3, np.int32))
    with torch.no_grad():
        expected = networks[0](torch.from_numpy(z)[:, :, None, None])
        judged = networks[1](nchw(images)).flatten()
    np.testing.assert_allclose(images.transpose(0, 3, 1, 2), expected, atol=1e-4)
    np.testing.assert_allclose(logits, judged, atol=1e-4)
    assert expected.std() > 0.1 and judged.std() > 1e-3


def test_an_import_samples_and_exports_the_same_networks(networks, folder, tmp_path):
    """The run directory samples the generator's images, and its export equals the import bit for bit."""
    workdir = epath.Path(tmp_path / 'run')
    modes.run('import', command(**{'interop.path': str(folder)}), workdir)
    c = read(workdir / 'config.json', ['interop'])
    assert (c.data.image_size, c.model.base_channels, c.model.latent_size, c.model.conditional) == (16, 4, 6, False)
    trained = restore(c, workdir)
    assert trained.step == 0
    assert_is_theirs(trained.method, trained.model, networks)

    modes.run('export', c.replace({'interop.path': str(tmp_path / 'export')}), workdir)
    for name, network in zip(('generator', 'discriminator'), networks, strict=True):
        before, after = state_dict(network), load_file(tmp_path / 'export' / f'{name}.safetensors')
        assert before.keys() == after.keys()
        for key, x in before.items():
            np.testing.assert_array_equal(after[key], x)
            assert after[key].dtype == x.dtype
        network.load_state_dict({k.removeprefix('main.'): torch.from_numpy(v) for k, v in after.items()})
    sizes = json.loads((tmp_path / 'export' / 'config.json').read_text())
    assert sizes == {'image_size': 16, 'nc': 1, 'nz': 6, 'ngf': 4, 'ndf': 4}


def test_a_generator_alone_and_the_prefix_of_data_parallel(networks, folder):
    (folder / 'discriminator.pth').unlink()
    save_file({f'module.{k}': v for k, v in state_dict(networks[0]).items()}, folder / 'generator.safetensors')
    imported = tutorial_folder.load(command(), folder)
    assert 'the discriminator is a new one' in imported.notes[-1]
    np.testing.assert_array_equal(
        imported.model.ema['up_0']['kernel'], state_dict(networks[0])['main.0.weight'].transpose(0, 2, 3, 1)
    )
    kernel = imported.model.discriminator.params['down_0']['kernel']
    assert kernel.shape == (4, 4, 1, 4) and 0.01 < kernel.std() < 0.03


@pytest.mark.parametrize('image_size', [8, 32, 64])
def test_no_two_variables_have_the_same_name(image_size):
    for kind, network in zip(('up', 'down'), tutorial_networks(image_size, ngf=1, nz=2, nc=3), strict=True):
        state = {k: v for k, v in state_dict(network).items() if not k.endswith(dcgan.COUNTER)}
        assert 4 * 2 ** dcgan.num_levels(state, kind) == image_size
        assert set(dcgan.names(kind, dcgan.num_levels(state, kind))) == set(state)
        back = dcgan.to_tutorial(dcgan.from_tutorial(state, kind), kind)
        assert state.keys() == back.keys() and all(np.array_equal(back[k], state[k]) for k in state)


def test_wrong_tensors_are_named_and_leave_no_files(networks, folder, tmp_path):
    up, down = map(state_dict, networks)

    def refused(words, **fields):
        with pytest.raises(UserError, match=words):
            modes.run('import', command(**{'interop.path': str(folder), **fields}), epath.Path(tmp_path / 'run'))
        assert not (tmp_path / 'run').exists()

    def generator(**changes):
        save_file({k: v for k, v in {**up, **changes}.items() if v is not None}, folder / 'generator.safetensors')

    generator(**{'main.4.running_var': None})
    refused('generator.safetensors: main.4.running_var is missing$')
    generator(**{'main.0.weight': None})
    refused('generator.safetensors: main.0.weight is missing')
    generator(**{'main.6.weight': None})
    refused('generator.safetensors: main.6.weight is missing')
    save_file({'weight': np.zeros(3, 'f')}, folder / 'generator.safetensors')
    refused('generator.safetensors is not a generator of the PyTorch tutorial')
    generator(**{'main.3.bias': np.zeros(4, 'f')})
    refused('generator.safetensors: main.3.bias belongs to no layer')
    generator(**{'main.3.weight': up['main.3.weight'][:4]})
    refused('main.3.weight is 4x4x4x4, where the network that is described has 8x4x4x4')
    generator(**{'main.0.weight': np.zeros((), 'f')})
    refused('main.0.weight is no kernel of a convolution')
    generator(**{'main.6.weight': np.zeros((8, 0, 4, 4), 'f')})
    refused('main.6.weight is no kernel of a convolution')
    for number in (10**6, int('9' * 30), 99):
        generator(**{f'main.{number}.weight': np.zeros(1, 'f')})
        refused('is not a generator of the PyTorch tutorial|is missing')
    save_file({'main.' + '9' * 5000 + '.weight': np.zeros(1, 'f')}, folder / 'generator.safetensors')
    refused('is not a generator of the PyTorch tutorial')
    generator()
    save_file({**down, 'main.0.weight': np.zeros((), 'f')}, folder / 'discriminator.safetensors')
    refused('main.0.weight is a single number, where')
    (folder / 'discriminator.safetensors').unlink()
    refused('config.data.name=cifar10 have 3', **{'data.name': 'cifar10', 'data.image_size': 16})
    wide = state_dict(tutorial_networks(16, ngf=8, nz=6, nc=1)[1])
    torch.save({k: torch.from_numpy(v) for k, v in wide.items()}, folder / 'discriminator.pth')
    refused('discriminator.pth: ndf=8, but the generator has ngf=4')
    for name in ('main.3.bias', 'main.5.weight'):
        torch.save({k: torch.from_numpy(v) for k, v in down.items() if k != name}, folder / 'discriminator.pth')
        refused(f'discriminator.pth: {name} is missing$')
    (folder / 'generator.safetensors').unlink()
    refused('holds neither generator.safetensors nor generator.pth')


@pytest.mark.parametrize('field', tutorial_folder.ONLY)
def test_fields_that_the_tutorial_lacks_are_refused_by_name(networks, folder, tmp_path, field):
    imported = tutorial_folder.load(command(), folder)
    changed = imported.config.replace({field: not tutorial_folder.ONLY[field]})
    with pytest.raises(UserError, match=f'config.{field}=(True|False) cannot be exported'):
        tutorial_folder.write(dataclasses.replace(imported, config=changed), {}, tmp_path)


def test_classifiers_cannot_be_imported_or_exported(tmp_path):
    with pytest.raises(
        UserError, match='config.family=judge cannot be imported: only ddpm, dcgan and r3gan have counterparts'
    ):
        modes.run('import', tiny_config('judge', **{'interop.path': 'x'}), epath.Path(tmp_path / 'run'))
