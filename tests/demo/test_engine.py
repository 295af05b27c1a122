"""What is drawn step by step is what the modes draw at once, and numbers compile nothing again."""

import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgen.apps.demo import engine
from jaxgen.apps.demo.engine import Model
from jaxgen.apps.edit.inputs import open_image
from jaxgen.apps.restore import restore
from jaxgen.cli import modes
from jaxgen.diffusion.compatibility import compatible_combinations
from jaxgen.errors import UserError
from tests.tiny import LONG, tiny_config, untrained

GUIDED = {'diffusion.label_dropout': 0.1}


def run_of(path, family='ddpm', /, **fields):
    c = tiny_config(family, **fields)
    workdir = epath.Path(untrained(c, path / 'run'))
    return c, workdir, Model(restore(c, workdir))


@pytest.fixture(scope='module')
def guided(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp('guided'), **GUIDED)


def last(moments):
    return list(moments)[-1].images


def by_mode(c, workdir, fields):
    modes.run('sample', engine.ordered(c, fields), workdir)
    with np.load(workdir / 'samples' / 'samples.npz') as drawn:
        return drawn['images']


@pytest.mark.parametrize(
    'fields',
    [
        {'seed': 3, 'sample.num': 6, 'sample.classes': '3,8'},
        {'sample.num': 20, 'sample.num_steps': 7, 'sample.guidance_scale': 2.5},
        {'sample.sampler': 'ddpm', 'sample.num': 3},
        {'sample.sampler': 'ddim', 'sample.eta': 0.7},
        {'sample.sampler': 'edm', 'sample.churn': 4.0, 'sample.num_steps': 6},
        {'sample.sampler': 'dpmpp_2m', 'sample.num_steps': 9},
        {'sample.sampler': 'dpmpp_2m_sde', 'sample.guidance_scale': 1.5},
    ],
)
def test_the_pictures_are_those_of_mode_sample(guided, fields):
    c, workdir, model = guided
    np.testing.assert_array_equal(last(model.generate(fields)), by_mode(c, workdir, fields))


@pytest.mark.parametrize(
    ('family', 'fields'),
    [
        ('dcgan', {}),
        ('ddpm', {'diffusion.schedule': 'edm', 'diffusion.parameterisation': 'edm', 'sample.sampler': 'heun'}),
        (
            'ddpm',
            {'diffusion.schedule': 'flow', 'diffusion.parameterisation': 'mean_flow', 'sample.sampler': 'mean_flow'},
        ),
        pytest.param('ddpm', {'diffusion.schedule': 'learned', 'diffusion.weighting': 'elbo'}, marks=LONG),
        pytest.param('ddpm', {'diffusion.variance': 'learned', 'sample.sampler': 'ddpm'}, marks=LONG),
    ],
)
def test_of_other_models_too(tmp_path, family, fields):
    """A schedule that is learned has its tables computed in one program and in several: off by a grey level at most."""
    c, workdir, model = run_of(tmp_path, family, **fields)
    drawn = last(model.generate({'seed': 2, 'sample.num': 18}))
    expected = by_mode(c, workdir, {'seed': 2, 'sample.num': 18})
    assert drawn.shape == expected.shape
    assert np.abs(drawn.astype(int) - expected).max() <= (1 if 'learned' in fields.values() else 0)


def test_numbers_compile_nothing_again(guided):
    _, _, model = guided
    asked = {'sample.num': 16, 'sample.guidance_scale': 3.0, 'sample.eta': 0.5}
    last(model.generate(asked))
    before = model.programs
    others = {'seed': 9, 'sample.num_steps': 11, 'sample.guidance_scale': 1.7, 'sample.eta': 0.9, 'sample.classes': '4'}
    for name, value in others.items():
        last(model.generate({**asked, name: value}))
    last(model.generate({**asked, 'sample.num': 33}))
    assert model.programs == before


def test_moments_go_on_and_nothing_is_drawn_beyond_the_last_one_taken(guided):
    moments = list(guided[2].generate({'sample.num': 18}))
    assert [m.done for m in moments] == list(range(9)) and moments[-1].last and not moments[-2].last
    assert all(m.total == 8 and m.images.shape == (18, 8, 8, 1) for m in moments)
    first = guided[2].generate({})
    next(first)
    first.close()


def test_edits_are_those_of_mode_edit(guided, tmp_path):
    c, workdir, model = guided
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 3:7] = 255
    Image.fromarray(mask).save(tmp_path / 'mask.png')
    source = 'digits:test:5'
    given = open_image(source, 'input', (8, 8, 1))
    for kind, strength, sampler in (
        ('image2image', 0.5, 'ddim'),
        ('image2image', 1.0, 'ddpm'),
        ('inpaint', 0.75, 'ddpm'),
    ):
        fields = {'edit.num': 3, 'edit.strength': strength, 'sample.sampler': sampler, 'seed': 4, 'sample.classes': '7'}
        inpaints = kind == 'inpaint'
        made = last(model.edit(fields, given, (mask[..., None] / 255).astype(np.float32) if inpaints else None))
        files = {'edit.kind': kind, 'edit.input': source, 'edit.mask': str(tmp_path / 'mask.png') if inpaints else ''}
        modes.run('edit', engine.ordered(c, {**fields, **files}), workdir)
        with np.load(workdir / 'edits' / kind / 'images.npz') as by_mode:
            np.testing.assert_array_equal(made, by_mode['images'])


def test_the_command_names_what_differs(guided):
    c, workdir, _ = guided
    fields = {'seed': 7, 'sample.num': 16, 'sample.classes': '3,8', 'sample.num_steps': 4}
    assert engine.command('runs/a b', 'sample', c, fields) == (
        "python main.py --config='runs/a b/config.json' --mode=sample --config.seed=7 --config.sample.classes=3,8"
    )


def test_samplers_are_those_that_fit(guided):
    fitting = {
        choice[-1] for choice in compatible_combinations('linear_betas') if choice[1:4] == ('eps', 'simple', 'fixed')
    }
    assert set(engine.samplers(guided[0])) == fitting
    assert not engine.samplers(tiny_config('dcgan'))


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'sample.num': 65}, 'at most 64 images'),
        ({'sample.num_steps': 21}, 'config.sample.num_steps=21 is more than'),
        ({'sample.classes': '3,eleven'}, 'config.sample.classes'),
        ({'sample.sampler': 'mean_flow'}, 'a mean velocity is sampled by mean_flow only'),
        ({'seed': -1}, 'config.seed=-1'),
    ],
)
def test_what_does_not_fit_is_refused(guided, fields, words):
    with pytest.raises(UserError, match=words):
        last(guided[2].generate(fields))
