"""Training that starts from the weights of a trained model, and consistency tuning, which does so."""

import json
import shutil

import jax
import numpy as np
import pytest
from etils import epath

from jaxgen.apps.restore import restore
from jaxgen.cli import modes
from jaxgen.errors import UserError
from tests.tiny import tiny_config, untrained

EDM = {
    'diffusion.schedule': 'edm',
    'diffusion.parameterisation': 'edm',
    'diffusion.label_dropout': 0.25,
    'sample.every': None,
}
TUNED = {
    **EDM,
    'diffusion.parameterisation': 'consistency',
    'sample.sampler': 'consistency',
    'sample.num_steps': 2,
    'optimizer.grad_clip_norm': None,
    'optimizer.learning_rate': 1e-3,
}


def randomised(model):
    rng = np.random.default_rng(0)

    def normal(x):
        return jax.device_put(rng.normal(0, 0.2, x.shape).astype(x.dtype), x.sharding)

    return model.replace(ema=jax.tree.map(normal, model.ema))


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    return untrained(tiny_config(**EDM), epath.Path(tmp_path_factory.mktemp('base')) / 'run', change=randomised)


def train(workdir, base, **fields):
    config = tiny_config(**{**TUNED, 'train.init_from': str(base), **fields})
    modes.run('train', config, epath.Path(workdir))
    return config


def test_training_starts_from_the_average_of_the_other_model(base, tmp_path, capsys):
    config = train(tmp_path / 'run', base, **{'train.steps': 1, 'optimizer.learning_rate': 1e-12})
    started = restore(tiny_config(**EDM), base).model.ema
    found = restore(config, epath.Path(tmp_path / 'run')).model
    for params in (found.params, found.ema):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), params, started)
    assert f'training starts from the weights of step 4 in {base}' in capsys.readouterr().out


def test_a_tuned_model_samples_in_one_and_two_calls(base, tmp_path):
    workdir = epath.Path(tmp_path / 'run')
    train(workdir, base)
    rows = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    assert all(np.isfinite(row['loss']) for row in rows) and rows[-1]['step'] == 12
    found = {}
    for num_steps in (1, 2):
        modes.run('sample', tiny_config(**{**TUNED, 'sample.num_steps': num_steps}), workdir)
        with np.load(workdir / 'samples' / 'samples.npz') as file:
            found[num_steps] = file['images']
    assert np.any(found[1] != found[2]) and found[2].std() > 1


def test_a_run_resumes_without_the_model_that_it_started_from(base, tmp_path):
    whole, parts, copy = tmp_path / 'whole', tmp_path / 'parts', tmp_path / 'copy'
    stages = {'diffusion.consistency_stage_steps': 3}
    shutil.copytree(base, copy)
    train(whole, copy, **stages)
    train(parts, copy, **stages, **{'train.steps': 8})
    shutil.rmtree(copy)
    train(parts, copy, **stages)
    ours, theirs = (restore(tiny_config(**TUNED, **stages), epath.Path(w)).model for w in (whole, parts))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_stages_that_end_with_the_run_fix_its_length(base, tmp_path):
    shorter = tiny_config(**{**TUNED, 'train.init_from': str(base), 'train.steps': 4})
    untrained(shorter, epath.Path(tmp_path / 'run'))
    with pytest.raises(UserError, match='config.train.steps is 12, but the checkpoint'):
        train(tmp_path / 'run', base)


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'train.init_from': '/nowhere'}, 'config.train.init_from=/nowhere holds no trained model'),
        ({'model.base_channels': 12}, 'config.train.init_from=.*params/'),
        ({'data.classes': ('1', '2')}, 'knows other classes than config.data'),
        (
            {'diffusion.schedule': 'cosine', 'diffusion.parameterisation': 'edm', 'sample.sampler': 'ddim'},
            'was trained with diffusion.schedule=edm, and this run has cosine',
        ),
    ],
)
def test_a_model_that_does_not_go_with_the_run_is_refused(base, tmp_path, fields, words):
    with pytest.raises(UserError, match=words):
        train(tmp_path / 'run', base, **fields)
    assert not (tmp_path / 'run').exists()


def test_fine_tuning_starts_from_its_base(base, tmp_path):
    fields = {**EDM, 'finetune.base': str(base), 'finetune.targets': ('dense',), 'train.init_from': str(base)}
    with pytest.raises(UserError, match='exclude each other: fine-tuning starts from its base'):
        modes.run('finetune', tiny_config(**fields), epath.Path(tmp_path) / 'run')


def test_a_model_of_another_method_is_refused(base, tmp_path):
    config = tiny_config('dcgan', **{'train.init_from': str(base)})
    with pytest.raises(UserError, match='is a model of family=ddpm, and this run trains family=dcgan'):
        modes.run('train', config, epath.Path(tmp_path) / 'run')


def test_consistency_tuning_starts_from_a_model_of_edm(tmp_path):
    fields = {**EDM, 'diffusion.schedule': 'flow', 'diffusion.parameterisation': 'edm'}
    other = untrained(tiny_config(**fields), epath.Path(tmp_path) / 'other')
    with pytest.raises(UserError, match='was trained with diffusion.schedule=flow, and this run has edm'):
        train(tmp_path / 'run', other)
