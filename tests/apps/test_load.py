"""jaxgen.load: the images of mode=sample, its options, edits, the estimates of x_0, adapters, the Hub, and refusals."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

import jaxgen
from jaxgen.apps import sample
from jaxgen.apps.edit.edit import edit
from jaxgen.apps.restore import restore
from jaxgen.diffusion import Level
from jaxgen.errors import UserError
from jaxgen.io import hub
from tests.helpers.old_runs import assert_same_images
from tests.tiny import tiny_config, untrained

OLD_RUNS = pathlib.Path(__file__).parents[1] / 'old_runs'
NUM = 6


def make_run(family, folder, **fields):
    config = tiny_config(family, **{'sample.num': NUM, 'sample.batch_size': 8, 'seed': 3, **fields})
    change = random_weights if family == 'ddpm' else lambda model: model
    return config, untrained(config, epath.Path(folder) / 'run', change=change)


def random_weights(model):
    """Return a model of which no layer is zero, as its last one is before training."""
    rng = np.random.default_rng(0)
    weights = jax.tree.map(lambda x: jax.device_put(rng.normal(0, 0.3, x.shape).astype(x.dtype), x.sharding), model.ema)
    return model.replace(ema=weights)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return make_run('ddpm', tmp_path_factory.mktemp('ddpm'))


@pytest.fixture(scope='module')
def model(run):
    return jaxgen.load(run[1])


def sampled_by_the_command_line(config, workdir):
    sample.run(config, workdir)
    with np.load(workdir / 'samples' / f'{config.sample.name}.npz') as file:
        return file['images']


def test_images_are_those_of_mode_sample(run, model):
    images = model.sample(NUM, seed=3)
    assert images.shape == (NUM, 8, 8, 1) and images.dtype == np.uint8
    np.testing.assert_array_equal(images, sampled_by_the_command_line(*run))
    np.testing.assert_array_equal(model.sample(2, seed=3, batch_size=2), images[:2])


def test_seeds_differ(model):
    assert np.any(model.sample(NUM, seed=3) != model.sample(NUM, seed=4))


def test_classes_are_those_of_the_command_line(run, model):
    config, workdir = run
    expected = sampled_by_the_command_line(config.replace({'sample.classes': ('7', '1')}), workdir)
    images = model.sample(NUM, classes=['7', '1'], seed=3)
    np.testing.assert_array_equal(images, expected)
    assert np.any(images != model.sample(NUM, seed=3))
    assert model.class_names == tuple('0123456789')


def test_options_are_those_of_the_command_line(run, model):
    config, workdir = run
    changed = config.replace({'sample.sampler': 'heun', 'sample.num_steps': 2})
    images = model.sample(NUM, seed=3, sampler='heun', num_steps=2)
    np.testing.assert_array_equal(images, sampled_by_the_command_line(changed, workdir))
    assert np.any(images != model.sample(NUM, seed=3))


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        ({'num_step': 2}, "the option 'num_step' does not exist"),
        ({'adapter': 'a.safetensors'}, "the option 'adapter' does not exist"),
        ({'ema_length': 0.1}, "the option 'ema_length' does not exist"),
        ({'classes': ['cat']}, "the class 'cat' does not exist"),
        ({'sampler': 'euler'}, "sampler 'euler' does not exist"),
        ({'num_steps': 21}, 'num_steps=21 must be at most'),
        ({'guidance_scale': 2.0}, 'guidance_scale=2.0 needs a network'),
        ({'batch_size': 0}, 'batch_size=0 must be at least 1'),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(model, arguments, reason):
    with pytest.raises(UserError) as e:
        model.sample(2, **arguments)
    assert reason in str(e.value) and '\n' not in str(e.value)


def test_no_images_are_refused(model):
    with pytest.raises(UserError, match='num=0 must be at least 1'):
        model.sample(0)


def test_edits_are_those_of_mode_edit(run, model):
    config, workdir = run
    fields = {'edit.input': 'digits:test:5', 'edit.strength': 0.5, 'edit.num': 3, 'sample.classes': ('7', '1')}
    expected = edit(restore(config.replace(fields), workdir)).made
    images = model.edit('digits:test:5', strength=0.5, num=3, classes=['7', '1'], seed=3)
    assert images.shape == (3, 8, 8, 1) and images.dtype == np.uint8
    np.testing.assert_allclose(images.astype(int), expected.astype(int), atol=1)


def test_edits_keep_the_pixels_outside_the_mask(model):
    image, mask = np.full((8, 8, 1), 100, np.uint8), np.zeros((8, 8), bool)
    mask[4:] = True
    changed = model.edit(image, mask=mask, num=2, strength=0.5) != image
    assert not changed[:, :4].any() and changed[:, 4:].any()
    assert (model.edit(image, num=2, strength=0.5) != image)[:, :4].any()


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        ({'image': np.zeros((16, 16, 1), np.uint8)}, 'image is an array of uint8 16x16x1, but the model edits'),
        ({'image': np.zeros((8, 8, 1))}, 'image is an array of float64 8x8x1'),
        ({'image': 'digits:test:99999'}, 'image=digits:test:99999 does not exist'),
        ({'mask': np.ones((4, 4), bool)}, 'mask is an array of bool 4x4, but it must be bool 8x8'),
        ({'mask': np.zeros((8, 8), bool)}, 'mask is False everywhere'),
        ({'strength': 0.0}, 'strength=0.0 must be above 0'),
        ({'num': 0}, 'num=0 must be at least 1'),
        ({'classes': ['cat']}, "'cat' does not exist"),
        ({'num_step': 2}, "the option 'num_step' does not exist"),
    ],
)
def test_impossible_edits_are_refused_in_one_sentence(model, arguments, reason):
    with pytest.raises(UserError) as e:
        model.edit(**{'image': np.zeros((8, 8, 1), np.uint8), **arguments})
    assert reason in str(e.value) and '\n' not in str(e.value)


def test_parameters_are_those_of_the_network(model):
    x, t, labels = jnp.zeros((2, 8, 8, 1)), jnp.zeros(2), jnp.zeros(2, jnp.int32)
    assert model.method.network.apply({'params': model.params}, x, t, labels).shape == (2, 8, 8, 1)
    assert repr(model) == '<jaxgen model: Diffusion, 8x8x1, step 4>'


def test_noise_levels_run_from_noise_to_data(model):
    levels = model.noise_levels()
    assert len(levels.t) == 5 and levels.sigma[-1] == 0
    assert np.all(np.diff(levels.sigma) < 0)
    assert len(model.noise_levels(10).t) == 11
    with pytest.raises(ValueError, match='num_steps=21 must lie between 1 and the 20 timesteps'):
        model.noise_levels(21)


def test_denoise_is_the_predictor_of_the_method(model):
    level = Level(*(array[1] for array in model.noise_levels()))
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32) * 3
    predict = model.method.predictor({'params': model.params}, jnp.array([2, 5, 2]), clip=False)
    estimate = model.denoise(x, level, classes=['2', '5'])
    np.testing.assert_array_equal(estimate, predict(jnp.asarray(x), level).mean)
    assert jnp.abs(estimate).max() > 1


def test_adapters_change_the_images():
    model = jaxgen.load(OLD_RUNS / 'ddpm', adapter=str(OLD_RUNS / 'finetuned' / 'adapter.safetensors'))
    with np.load(OLD_RUNS / 'ddpm' / 'samples' / 'adapter.npz') as recorded:
        images = recorded['images']
    config = model._trained.config
    made = model.sample(len(images), classes=['3', '8'], seed=config.seed, batch_size=config.sample.batch_size)
    assert_same_images(made, images)


def test_adapters_of_another_model_are_refused(run):
    with pytest.raises(UserError, match='is for a base with the weights'):
        jaxgen.load(run[1], adapter=str(OLD_RUNS / 'finetuned' / 'adapter.safetensors'))


def test_models_on_the_hub_are_downloaded(monkeypatch, tmp_path):
    shutil.copytree(OLD_RUNS / 'exported', tmp_path / 'cached')
    asked = []

    def folder(name, files):
        asked.append((name, files))
        return tmp_path / 'cached'

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, 'folder', folder)
    model = jaxgen.load('someone/digits')
    assert asked == [('someone/digits', ('config.json', 'weights.safetensors'))]
    with np.load(OLD_RUNS / 'exported' / 'samples' / 'samples.npz') as recorded:
        images = recorded['images']
    config = model._trained.config
    assert_same_images(model.sample(len(images), seed=config.seed, batch_size=config.sample.batch_size), images)


def test_folders_without_a_model_are_refused(tmp_path):
    with pytest.raises(UserError, match='holds no trained model'):
        jaxgen.load(tmp_path / 'nothing')
    (tmp_path / 'config.json').write_text(
        '{"seed": 0, "data": {"images": 3}}'
    )  # as a Trainer without a config writes it
    with pytest.raises(UserError, match=f'^{tmp_path}/config.json is not .* use Trainer.sample$'):
        jaxgen.load(tmp_path)


def test_gans_sample_and_neither_denoise_nor_edit(tmp_path):
    config, workdir = make_run('dcgan', tmp_path)
    model = jaxgen.load(str(workdir))
    np.testing.assert_array_equal(model.sample(NUM, seed=3), sampled_by_the_command_line(config, workdir))
    with pytest.raises(UserError, match='this model estimates no image at a noise level'):
        model.noise_levels()
    with pytest.raises(UserError, match='this model cannot edit images'):
        model.edit(np.zeros((8, 8, 1), np.uint8))
    with pytest.raises(UserError, match="the option 'num_steps' does not exist"):
        model.sample(1, num_steps=2)


def test_models_without_classes_refuse_classes(tmp_path):
    model = jaxgen.load(make_run('ddpm', tmp_path, **{'model.conditional': False})[1])
    with pytest.raises(UserError, match='this model was trained without class labels'):
        model.sample(1, classes=['1'])


def test_classifiers_do_not_sample(tmp_path):
    model = jaxgen.load(make_run('judge', tmp_path)[1])
    assert 'head' in model.params
    with pytest.raises(UserError, match='ClassifierMethod generates no images'):
        model.sample(1)
