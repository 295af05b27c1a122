"""Autoguidance from run directories: the guide's parameters, its images, its protocol, and what is refused."""

import json

import jax
import numpy as np
import pytest
from etils import epath

import jaxgen
from jaxgen.apps import sample, stored_config
from jaxgen.apps.evaluate.generated import STREAM, generated_set
from jaxgen.apps.restore import restore
from jaxgen.cli import modes
from jaxgen.errors import UserError
from jaxgen.io.hashes import weights_hash
from jaxgen.training.snapshots import Snapshots
from tests.tiny import tiny_config, untrained

FIELDS = {
    'sample.num': 6,
    'sample.batch_size': 8,
    'optimizer.ema_lengths': (0.05, 0.1),
    'optimizer.ema_snapshot_every': 2,
    'optimizer.learning_rate': 0.01,
    'diffusion.label_dropout': 0.25,
    'checkpoint.keep': 9,
    'sample.every': None,
}


def randomised(seed):
    def change(model):
        rng = np.random.default_rng(seed)
        weights = jax.tree.map(
            lambda x: jax.device_put(rng.normal(0, 0.3, x.shape).astype(x.dtype), x.sharding), model.ema
        )
        return model.replace(ema=weights)

    return change


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    workdir = epath.Path(tmp_path_factory.mktemp('run')) / 'run'
    modes.run('train', tiny_config(**FIELDS), workdir)
    return workdir


@pytest.fixture(scope='module')
def other(tmp_path_factory):
    """A smaller network with random weights."""
    fields = {**FIELDS, 'model.base_channels': 4, 'sample.guidance_scale': 2.0}
    return untrained(tiny_config(**fields), epath.Path(tmp_path_factory.mktemp('other')) / 'run', change=randomised(1))


def images(workdir, **fields):
    sample.run(tiny_config(**FIELDS, **fields), workdir)
    with np.load(workdir / 'samples' / 'samples.npz') as file:
        return file['images']


def restored(workdir, **fields):
    return restore(tiny_config(**FIELDS, **fields), workdir)


def test_the_guide_has_the_parameters_that_are_asked_for(run, other):
    at_4 = restored(run, **{'sample.guide_step': 4}).method.guide.variables['params']
    newest = restored(run).model.ema
    assert abs(at_4['conv_in']['kernel'] - newest['conv_in']['kernel']).max() > 0
    snapshots = Snapshots(run)
    for fields, step in (({'sample.guide_ema_length': 0.08}, 12), ({'sample.guide_step': 6}, 6)):
        fields = {'sample.guide_ema_length': 0.08, **fields}
        found = restored(run, **fields).method.guide.variables['params']
        expected = snapshots.average(0.08, step)
        jax.tree.map(np.testing.assert_array_equal, dict(found), expected)
    guide = restored(run, **{'sample.guide': str(other)}).method.guide
    own = restore(stored_config.read(other / 'config.json'), other).model.ema
    jax.tree.map(np.testing.assert_array_equal, guide.variables['params'], own)
    assert guide.network.base_channels == 4


def test_images_are_guided_as_the_formula_says(run, other):
    """Against a network that computes the guided estimate itself: one step of DDIM from the same noise."""
    fields = {
        'sample.guide': str(other),
        'sample.guide_scale': 1.5,
        'sample.num_steps': 1,
        'sample.guidance_scale': 3.0,
    }
    trained = restored(run, **fields)
    method, guide = trained.method, restore(stored_config.read(other / 'config.json'), other)
    keys, labels = jax.random.split(jax.random.key(1), 4), np.arange(4)
    variables = method.sampling_variables(trained.model, keys[0], True)
    levels = method.levels(variables)
    first = jax.tree.map(lambda x: x[0], levels)
    x = method.prepare(variables, keys, labels).carry.x
    estimate = jax.jit(lambda labels: method.predictor(variables, labels, clip=False)(x, first).mean)
    own, null = estimate(labels), estimate(np.full(4, 10))
    bad = jax.jit(lambda ema: guide.method.predictor({'params': ema}, labels, clip=False)(x, first).mean)(
        guide.model.ema
    )
    expected = np.clip(own + 2 * (own - null) + 0.5 * (own - bad), -1, 1)
    np.testing.assert_allclose(jax.jit(method.sample)(variables, keys, labels), expected, atol=2e-3)


def test_a_scale_of_one_is_no_guidance_and_others_change_images(run, other):
    plain = images(run)
    guided = {scale: images(run, **{'sample.guide': str(other), 'sample.guide_scale': scale}) for scale in (1.0, 3.0)}
    np.testing.assert_array_equal(guided[1.0], plain)
    assert np.any(guided[3.0] != plain)
    model = jaxgen.load(run, guide=str(other))
    assert model.method.sampling.guidance.guide_scale == 2  # if not set
    np.testing.assert_array_equal(model.sample(6, guide_scale=3.0), guided[3.0])


def test_the_protocol_names_the_guide(run):
    trained = restored(run, **{'sample.guide_step': 4, 'sample.guide_ema_length': 0.1, 'sample.guidance_high': 5.0})
    found = generated_set(trained, trained.sampler(0, STREAM), 4).description
    assert found['guide'] == weights_hash(trained.method.guide.variables)
    assert (found['guide_scale'], found['guidance_scale'], found['guidance_high']) == (2.0, 1.0, 5.0)
    plain = restored(run)
    without = generated_set(plain, plain.sampler(0, STREAM), 4).description
    assert not {'guide', 'guide_scale'} & without.keys()
    assert json.dumps(found)


def test_weights_of_a_guided_model_are_its_own(run):
    trained = restored(run, **{'sample.guide_step': 4})
    own = trained.method.weights(trained.model, jax.random.key(0), True)
    jax.tree.map(np.testing.assert_array_equal, own, {'params': restored(run).model.ema})


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'sample.guide_scale': 2.0}, 'config.sample.guide_scale=2.0 needs a guide'),
        ({'sample.guide': '/nowhere'}, 'config.sample.guide=/nowhere holds no trained model'),
        ({'sample.guide_step': 5}, 'guide of config.sample.guide, .*holds no step 5, but 4, 8, 12: choose one of them'),
        ({'sample.guide_step': 1, 'sample.guide_ema_length': 0.1}, 'guide of .*: .*holds no snapshot up to step 1'),
        (
            {'sample.guide_step': 400, 'sample.guide_ema_length': 0.1},
            'ends at step 12: there is no average at step 400',
        ),
        ({'sample.guide_ema_length': 0.3}, 'config.sample.guide_ema_length=0.3 must be at most 0.28'),
    ],
)
def test_a_guide_that_is_not_there_is_refused(run, fields, words):
    with pytest.raises(UserError, match=words):
        modes.run('sample', tiny_config(**FIELDS, **fields), run)


@pytest.mark.parametrize(
    ('family', 'fields', 'words'),
    [
        ('dcgan', {}, 'is no diffusion model'),
        ('ddpm', {'diffusion.schedule': 'cosine'}, 'was trained with diffusion.schedule=cosine, and the model'),
        ('ddpm', {'diffusion.timesteps': 30}, 'was trained with diffusion.timesteps=30, and the model'),
        ('ddpm', {'data.classes': ('1', '2')}, 'knows other classes'),
        ('ddpm', {'data.image_size': 16}, r'generates images of \(16, 16, 1\)'),
    ],
)
def test_a_guide_of_another_kind_is_refused(run, tmp_path, family, fields, words):
    guide = untrained(tiny_config(family, **fields), epath.Path(tmp_path) / 'guide')
    with pytest.raises(UserError, match=words):
        restored(run, **{'sample.guide': str(guide)})


def test_a_model_does_not_guide_itself(run):
    with pytest.raises(UserError, match='is the model that it guides, which changes nothing: set guide_step'):
        restored(run, **{'sample.guide': str(run)})


def test_a_conditional_guide_of_an_unconditional_model_is_refused(run, tmp_path):
    workdir = untrained(tiny_config(**{'model.conditional': False}), epath.Path(tmp_path) / 'run')
    with pytest.raises(UserError, match='knows other classes'):
        restore(tiny_config(**{'model.conditional': False, 'sample.guide': str(run)}), workdir)


@pytest.mark.parametrize('mode', ['interpret', 'likelihood'])
def test_modes_that_look_at_the_model_itself_refuse_a_guide(run, mode):
    with pytest.raises(UserError, match=f'config.sample.guide_step is for sampling, and --mode={mode} looks at'):
        modes.run(mode, tiny_config(**FIELDS, **{'sample.guide_step': 4}), run)


def test_an_unconditional_guide_needs_no_classes(run, tmp_path):
    guide = untrained(
        tiny_config(**{'model.conditional': False, 'data.classes': ('1', '2')}),
        epath.Path(tmp_path) / 'guide',
        change=randomised(2),
    )
    assert np.any(images(run, **{'sample.guide': str(guide)}) != images(run))


def test_training_with_a_guide_is_refused(tmp_path):
    with pytest.raises(UserError, match='config.sample.guide is for sampling, and --mode=train'):
        modes.run('train', tiny_config(**{'sample.guide': 'x'}), epath.Path(tmp_path) / 'run')


def test_a_mean_flow_has_no_guide():
    fields = {'diffusion.schedule': 'flow', 'diffusion.parameterisation': 'mean_flow', 'sample.sampler': 'mean_flow'}
    with pytest.raises(UserError, match='config.sample.guide=x must be unset'):
        modes.run('sample', tiny_config(**fields, **{'sample.guide': 'x'}), epath.Path('nowhere'))
