"""The page makes the images of the modes step by step, and new numbers need no new compilation."""

import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgen.apps.demo import settings
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


def last(steps):
    return list(steps)[-1].images


def by_mode(c, workdir, fields):
    modes.run('sample', settings.with_fields(c, fields), workdir)
    with np.load(workdir / 'samples' / 'samples.npz') as samples:
        return samples['images']


@pytest.mark.parametrize(
    'fields',
    [
        {'seed': 3, 'sample.num': 6, 'sample.classes': ('3', '8'), 'sample.sampler': 'ddim', 'sample.eta': 0.7},
        pytest.param(
            {'sample.num': 20, 'sample.num_steps': 7, 'sample.guidance_scale': 2.5, 'sample.sampler': 'dpmpp_2m_sde'},
            marks=LONG,
        ),
        pytest.param({'sample.sampler': 'ddpm', 'sample.num': 3}, marks=LONG),
        {'sample.sampler': 'edm', 'sample.churn': 4.0, 'sample.num_steps': 6},
    ],
)
def test_the_images_are_those_of_mode_sample(guided, fields):
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
def test_the_images_of_other_models_are_those_of_mode_sample(tmp_path, family, fields):
    """The tables of a learned schedule are computed in one program or in several, which differ by up to one grey level."""
    c, workdir, model = run_of(tmp_path, family, **fields)
    made = last(model.generate({'seed': 2, 'sample.num': 18}))
    expected = by_mode(c, workdir, {'seed': 2, 'sample.num': 18})
    assert made.shape == expected.shape
    assert np.abs(made.astype(int) - expected).max() <= (1 if 'learned' in fields.values() else 0)


def test_new_numbers_need_no_compilation(guided):
    _, _, model = guided
    asked = {'sample.num': 16, 'sample.guidance_scale': 3.0, 'sample.eta': 0.5}
    last(model.generate(asked))
    before = model.num_programs
    others = {
        'seed': 9,
        'sample.num_steps': 11,
        'sample.guidance_scale': 1.7,
        'sample.eta': 0.9,
        'sample.classes': ('4',),
    }
    for name, value in others.items():
        last(model.generate({**asked, name: value}))
    last(model.generate({**asked, 'sample.num': 33}))
    assert model.num_programs == before


def test_every_step_is_shown_and_a_visitor_may_leave_early(guided):
    steps = [step for step in guided[2].generate({'sample.num': 26}) if step.compiling is None]
    assert [step.done for step in steps] == list(range(9)) and steps[-1].is_last and not steps[-2].is_last
    assert all(step.total == 8 and step.images.shape == (26, 8, 8, 1) for step in steps)
    assert [step.taken for step in steps] == [0, 1, 1, 2, 2, 3, 3, 4, 4]  # all batches take a step before the next one
    noise = [step.noise for step in steps]
    assert noise == sorted(noise, reverse=True) and noise[0] == 1 and noise[-1] < 0.01
    assert [int(label) for label in steps[0].labels] == [*range(10), *range(10), *range(6)]
    first = guided[2].generate({})
    next(first)
    first.close()


def test_edits_are_those_of_mode_edit(guided, tmp_path):
    c, workdir, model = guided
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 3:7] = 255
    Image.fromarray(mask).save(tmp_path / 'mask.png')
    source = 'digits:test:5'
    given = open_image(source, 'input', (8, 8, 1), c)
    for kind, strength, sampler in (
        ('image2image', 0.5, 'ddim'),
        ('image2image', 1.0, 'ddpm'),
        ('inpaint', 0.75, 'ddpm'),
    ):
        fields = {
            'edit.num': 3,
            'edit.strength': strength,
            'sample.sampler': sampler,
            'seed': 4,
            'sample.classes': ('7',),
        }
        inpaints = kind == 'inpaint'
        made = last(model.edit(fields, given, (mask[..., None] / 255).astype(np.float32) if inpaints else None))
        files = {'edit.kind': kind, 'edit.input': source, 'edit.mask': str(tmp_path / 'mask.png') if inpaints else None}
        modes.run('edit', settings.with_fields(c, {**fields, **files}), workdir)
        with np.load(workdir / 'edits' / kind / 'images.npz') as by_mode:
            np.testing.assert_array_equal(made, by_mode['images'])


def test_the_command_line_has_only_changed_fields(guided):
    c, workdir, _ = guided
    fields = {'seed': 7, 'sample.num': 16, 'sample.classes': ('3', '8'), 'sample.num_steps': 4}
    assert settings.command_line('runs/a b', 'sample', c, fields) == (
        "python main.py --config='runs/a b/config.json' --mode=sample --config.seed=7 --config.sample.classes=3,8"
    )


def test_samplers_are_the_compatible_ones(guided):
    compatible = {
        choice[-1] for choice in compatible_combinations('linear_betas') if choice[1:4] == ('eps', 'simple', 'fixed')
    }
    assert set(settings.compatible_samplers(guided[0])) == compatible
    assert not settings.compatible_samplers(tiny_config('dcgan'))


def test_network_calls_are_images_times_steps_and_guidance(guided):
    model, fields = guided[2], {'sample.num': 6, 'sample.num_steps': 10}
    assert model.network_calls(fields) == 60
    assert model.network_calls({**fields, 'sample.guidance_scale': 2.0}) == 120
    assert model.network_calls(fields, num=3, share=0.5) == 15
    protocol = model.protocol({**fields, 'sample.guidance_scale': 2.0})
    assert (protocol['num_steps'], protocol['guidance_scale'], protocol['step']) == (10, 2.0, 4)
    with pytest.raises(UserError, match='num_steps=21'):
        model.network_calls({'sample.num_steps': 21})


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'sample.num': 65}, 'config.sample.num=65 must be at most 64'),
        ({'sample.num_steps': 21}, 'config.sample.num_steps=21 must be at most diffusion.timesteps=20'),
        ({'sample.classes': ('3', 'eleven')}, 'config.sample.classes'),
        ({'sample.sampler': 'mean_flow'}, 'a mean velocity is sampled by mean_flow only'),
        ({'seed': -1}, 'config.seed=-1'),
    ],
)
def test_impossible_settings_are_refused(guided, fields, words):
    with pytest.raises(UserError, match=words):
        last(guided[2].generate(fields))
