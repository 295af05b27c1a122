"""Exported models: weights in bfloat16, in a folder that the modes read like a run directory."""

import pathlib
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
from etils import epath
from safetensors.numpy import load_file, save_file

from jaxgen.apps.config import SHARED
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.interop.options import InteropOptions
from jaxgen.apps.restore import restore
from jaxgen.apps.stored_config import read
from jaxgen.apps.weights import FILE
from jaxgen.cli import modes
from jaxgen.errors import UserError
from jaxgen.runtime.random import root_key, stream
from tests.tiny import tiny_config, untrained

PRETRAINED = pathlib.Path(__file__).parents[2] / 'pretrained'


def randomised(model):
    """Return a state with random tensors, so that averages differ from parameters, and no layer is zero."""
    rng = np.random.default_rng(0)

    def noise(x):
        y = rng.uniform(0.5, 1.5, x.shape) if np.issubdtype(x.dtype, np.floating) else np.full(x.shape, 7)
        return jax.device_put(y.astype(x.dtype), x.sharding)

    return jax.tree.map(noise, model)


def exported(c, folder, workdir):
    interop = InteropOptions(path=str(folder), format='jaxgen')
    modes.run('export', c.replace({'interop': interop}), epath.Path(workdir))


@pytest.fixture(scope='module', params=['ddpm', 'dcgan'])
def there(request, tmp_path_factory):
    """Return a folder with a run directory and its export."""
    path = epath.Path(tmp_path_factory.mktemp('there'))
    lengths = {'optimizer.ema_lengths': (0.05, 0.1)} if request.param == 'ddpm' else {}
    c = tiny_config(request.param, **lengths)
    untrained(c, path / 'run', 4, randomised)
    exported(c, path / 'out' / 'small', path / 'run')
    return path


def restored(workdir):
    return restore(read(workdir / 'config.json'), workdir)


def test_the_folder_is_that_model_in_bfloat16(there):
    """It has the averages with their statistics, the discriminator and the step, with or without the average."""
    before, after = restored(there / 'run'), restored(there / 'out' / 'small')
    assert after.step == 4 and after.class_names == before.class_names
    learnt = before.method.weights(
        before.model, stream(root_key(before.config.seed, before.config.train.prng), 'statistics'), True
    )
    expected = jax.tree.map(lambda x: np.asarray(x).astype(ml_dtypes.bfloat16).astype(np.float32), learnt)
    for ema in (True, False):
        got = after.method.weights(after.model, jax.random.key(3), ema)
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(got), expected)
    drawn = after.method.sampling_variables(after.model, jax.random.key(3), True)['params']
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2**-8), drawn, before.model.ema)
    assert any(
        np.abs(x - y).max() > 0.1 for x, y in zip(*map(jax.tree.leaves, (drawn, unaveraged(before))), strict=True)
    )
    stored = load_file(there / 'out' / 'small' / FILE)
    assert {x.dtype for x in stored.values()} == {np.dtype(ml_dtypes.bfloat16)}
    assert sorted(p.name for p in (there / 'out' / 'small').iterdir()) == ['config.json', FILE]
    assert str(there) not in (there / 'out' / 'small' / 'config.json').read_text()


def unaveraged(trained):
    return trained.method.sampling_variables(trained.model, jax.random.key(3), False)['params']


def test_it_samples_and_is_exported_again_unchanged(there, tmp_path):
    folder = epath.Path(shutil.copytree(there / 'out' / 'small', tmp_path / 'small'))
    c = read(folder / 'config.json')
    modes.run('sample', c, folder)
    (sampled,) = (folder / 'samples').glob('*.npz')
    assert len(np.load(sampled)['images']) == c.sample.num
    exported(c, tmp_path / 'again', folder)
    assert (tmp_path / 'again' / FILE).read_bytes() == (folder / FILE).read_bytes()


def test_the_page_shows_it(there):
    found = Workdirs(tiny_config(**{'demo.workdirs': (str(there / 'out' / 'small'),)}), there / 'run')
    (name,) = found.able_to_sample()
    assert found.model(name) is found.model(name)
    assert (found.log(name), found.evaluations(name)) == ([], {})


def test_it_is_neither_trained_nor_overwritten(there, tmp_path):
    folder = there / 'out' / 'small'
    c = read(folder / 'config.json', SHARED).replace({'interop.path': str(tmp_path)})
    for mode in ('train', 'import'):
        with pytest.raises(
            UserError, match=f'{FILE} is a trained model without the state of its training: pass another'
        ):
            modes.run(mode, c, folder)
    with pytest.raises(UserError, match='exists already, and is not an empty folder'):
        exported(c, folder, folder)
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == ['config.json', FILE]


def test_a_file_that_is_not_its_own_is_refused(there, tmp_path):
    folder = epath.Path(shutil.copytree(there / 'out' / 'small', tmp_path / 'small'))
    c = read(folder / 'config.json')
    stored = load_file(folder / FILE)
    last = max(stored)
    save_file({name: x for name, x in stored.items() if name != last}, folder / FILE)
    with pytest.raises(UserError, match=f'{FILE}: {last} is missing'):
        restore(c, folder)
    (folder / FILE).write_bytes((there / 'out' / 'small' / FILE).read_bytes()[:-10])
    with pytest.raises(UserError, match=f'{FILE} is not a complete file of tensors'):
        restore(c, folder)


@pytest.mark.parametrize('name', sorted(folder.name for folder in PRETRAINED.iterdir()))
def test_the_pretrained_models_are_whole_and_small(name):
    trained = restored(epath.Path(PRETRAINED) / name)
    assert trained.step > 0 and name.startswith(trained.config.method)
    assert (PRETRAINED / name / FILE).stat().st_size < 4e6


def test_a_fine_tuned_model_has_its_own_file(there, tmp_path):
    base = there / 'out' / 'small'
    if read(base / 'config.json').method != 'ddpm':
        pytest.skip('of diffusion models alone')
    way_out = {'finetune.base': str(base), 'finetune.method': 'full'}  # the refusal of training names it
    c = read(base / 'config.json', ('evaluation',))
    c = c.replace({**way_out, 'train.steps': 1, 'checkpoint.every': 1, 'sample.every': None})
    modes.run('finetune', c, tmp_path / 'tuned')
    with pytest.raises(UserError, match='is its base and its adapter.safetensors'):
        exported(c, tmp_path / 'out', tmp_path / 'tuned')
    assert not (tmp_path / 'out').exists()
