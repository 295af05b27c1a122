"""Edits of pictures: the mathematics in closed form, and the mode on a tiny model."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgen.apps.edit.edit import Editor
from jaxgen.apps.trained import Trained
from jaxgen.apps.untrained import build_method
from jaxgen.cli import modes
from jaxgen.diffusion import editing, samplers
from jaxgen.diffusion.schedules import SCHEDULES, EDMSchedule
from jaxgen.errors import UserError
from jaxgen.io import images
from jaxgen.methods.diffusion.state import DiffusionState
from jaxgen.runtime.mesh import make_mesh
from tests.diffusion import analytic
from tests.tiny import tiny_config, untrained

EDM_NET = {'diffusion.parameterisation': 'edm'}  # untrained, it is the best linear estimate


def test_strength_is_the_share_of_the_way():
    levels = SCHEDULES['linear'](1000).levels(10)
    assert len(editing.last_levels(levels, 1.0).t) == 11
    half = editing.last_levels(levels, 0.5)
    np.testing.assert_array_equal(half.t, levels.t[5:])
    assert len(editing.last_levels(levels, 0.01).t) == 2


@pytest.mark.parametrize('name', [n for n in samplers.SAMPLERS if n != 'mean_flow'])
def test_what_is_kept_comes_out_of_every_sampler(name):
    schedule = EDMSchedule()
    levels = schedule.levels(6)
    known, mask = jnp.full((1, 4, 4, 1), 0.25), jnp.zeros((4, 4, 1)).at[1:3, 1:3].set(1)
    edit = editing.keep_known(known, mask)

    def denoiser(x, level):
        return edit(jnp.tanh(x))

    start = jax.random.normal(jax.random.key(0), (1, 4, 4, 1)) * levels.sigma[0]
    sampler = samplers.SAMPLERS[name].with_options(**{'churn': 2.0} if name == 'edm' else {})
    made = sampler.sample(denoiser, levels, start, noise=lambda i: jnp.ones_like(start), schedule=schedule)
    np.testing.assert_allclose(jnp.where(mask > 0, 0, made - known), 0, atol=1e-6)
    assert jnp.all(jnp.where(mask > 0, jnp.abs(made - known) > 1e-3, True))


@pytest.mark.parametrize('schedule', ['linear', 'cosine', 'edm', 'flow'])
def test_inversion_finds_the_start_from_which_ddim_draws_the_image(schedule):
    """On Gaussian data, where all is affine; each fixed-point step takes off a factor of the error."""
    with jax.enable_x64(True):
        levels = analytic.schedule(schedule).levels(25)
        image = jnp.linspace(-1.0, 1.2, 7)
        errors = []
        for iterations in (1, 3, 40):
            start = samplers.ddim_inversion(analytic.gaussian, levels, image, iterations=iterations)
            again = samplers.ddim(analytic.gaussian, levels, start)
            errors.append(float(jnp.max(jnp.abs(again - image))))
        assert errors[2] < 1e-6 and errors[2] < errors[1] < errors[0], errors


def test_slerp_stays_on_the_circle_and_ends_at_its_ends():
    a, b = jnp.array([3.0, 0.0]), jnp.array([0.0, 3.0])
    got = editing.slerp(a, b, jnp.array([0.0, 1 / 3, 1.0]))
    np.testing.assert_allclose(got, [[3, 0], [3 * np.cos(np.pi / 6), 3 * np.sin(np.pi / 6)], [0, 3]], atol=1e-6)
    np.testing.assert_allclose(editing.slerp(a, a, jnp.array([0.3])), [a], atol=1e-6)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return epath.Path(untrained(tiny_config(**EDM_NET), tmp_path_factory.mktemp('edit') / 'run'))


def edited(run, **fields):
    c = tiny_config(**{**EDM_NET, 'edit.num': 3, 'edit.input': 'digits:test:5', **fields})
    modes.run('edit', c, run)
    folder = run / 'edits' / c.edit.kind
    assert {p.name for p in folder.iterdir()} >= {'grid.png', 'strip.png', 'strip.webp', 'images.npz'}
    with Image.open(folder / 'strip.webp') as movie:
        assert movie.n_frames > 1
        movie.seek(movie.n_frames - 1)
        last = np.asarray(movie.convert('L'))
    with np.load(folder / 'images.npz') as made:
        np.testing.assert_array_equal(last, images.grid(made['images'])[..., 0])
        return dict(made)


def test_less_strength_changes_less(run):
    off = []
    for strength in (0.5, 1.0):
        made = edited(run, **{'edit.strength': strength})
        assert made['images'].shape == (3, 8, 8, 1) and made['given'].shape == (1, 8, 8, 1)
        off.append(np.mean(np.abs(made['images'].astype(float) - made['given'])))
    assert off[0] < off[1]


def test_outside_of_the_mask_the_picture_is_as_it_was(run, tmp_path):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = 255
    Image.fromarray(mask).save(tmp_path / 'mask.png')
    made = edited(run, **{'edit.kind': 'inpaint', 'edit.mask': str(tmp_path / 'mask.png')})
    same = made['images'] == made['given']
    assert np.all(same | (mask[..., None] > 0)) and not np.all(same)


def test_interpolation_begins_and_ends_with_the_pictures(run, capsys):
    fields = {'edit.kind': 'interpolate', 'edit.other': 'digits:test:7', 'edit.num': 4, 'edit.inversion_iterations': 20}
    made = edited(run, **fields, **{'sample.num_steps': 10})
    ends = made['images'][[0, -1]].astype(float)
    assert np.sqrt(np.mean((ends - made['given']) ** 2)) < 4
    assert 'is off by' in capsys.readouterr().out


class OfClasses(nn.Module):
    """The exact denoiser, as edm has it, of pictures of class k from N(k / 20, 1/4)."""

    @nn.compact
    def __call__(self, x, t, labels, *, train=False):
        sigma = jnp.exp(4 * t)
        return ((labels / 20) * 2 * sigma / jnp.hypot(sigma, 0.5)).reshape(-1, 1, 1, 1) + 0 * x


def test_transfer_keeps_what_is_not_of_the_class():
    """DDIM treats the distance from a class's mean alike in all classes: a transfer exchanges the means, and nothing else."""
    fields = {'kind': 'transfer', 'input': 'digits:test:5', 'source_class': '5', 'inversion_iterations': 20}
    c = tiny_config(
        **{f'edit.{name}': value for name, value in fields.items()},
        **{
            **EDM_NET,
            'diffusion.schedule': 'edm',
            'sample.clip': False,
            'sample.num_steps': 10,
            'sample.classes': '9,2',
        },
    )
    method = dataclasses.replace(build_method(c, (8, 8, 1), 10), network=OfClasses())
    made = Editor(c, Trained(c, method, make_mesh(), 0, DiffusionState({}, {}, (), 0), tuple('0123456789'))).transfer()
    shifts = np.array([0, 9 - 5, 2 - 5]).reshape(-1, 1, 1, 1) / 20 * 127.5
    expected = np.clip(made.given + shifts, 0, 255)
    assert made.given.shape == (1, 8, 8, 1) and np.ptp(made.given) > 200
    np.testing.assert_allclose(made.made, expected, atol=1)


def test_transfer_draws_one_image_a_class_after_the_picture_itself(run):
    made = edited(run, **{'edit.kind': 'transfer', 'edit.source_class': '5', 'sample.classes': '3,8'})
    assert made['images'].shape[0] == 3


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'edit.input': ''}, 'config.edit.input is empty'),
        ({'edit.input': 'digits:test:360'}, 'digits:test has 360 images'),
        ({'edit.input': 'nowhere.png'}, 'config.edit.input=nowhere.png cannot be read'),
        ({'edit.input': 'digits:best:3'}, "the split 'best' does not exist"),
        ({'edit.strength': 0.0}, 'config.edit.strength=0.0 must lie between'),
        ({'edit.kind': 'invert'}, 'config.edit.kind'),
        ({'edit.kind': 'inpaint'}, 'config.edit.mask is empty'),
        ({'edit.kind': 'transfer'}, 'config.edit.source_class'),
        (
            {'edit.kind': 'transfer', 'edit.source_class': 'x', 'sample.classes': '3'},
            "config.edit.source_class: 'x' does not",
        ),
        (
            {'edit.kind': 'interpolate', 'sample.sampler': 'ddpm', 'edit.other': 'digits:test:1'},
            'set config.sample.sampler=ddim',
        ),
    ],
)
def test_what_cannot_be_edited_is_refused_in_a_sentence(run, fields, words):
    with pytest.raises(UserError, match=words):
        edited(run, **fields)


def test_pictures_with_alpha_and_masks_of_another_size_are_refused(run, tmp_path):
    Image.new('RGBA', (20, 20)).save(tmp_path / 'alpha.png')
    with pytest.raises(UserError, match='alpha.png has an alpha channel'):
        edited(run, **{'edit.input': str(tmp_path / 'alpha.png')})
    Image.new('L', (9, 8), 255).save(tmp_path / 'mask.png')
    with pytest.raises(UserError, match='has 9x8 pixels: a mask has the 8x8 of the network'):
        edited(run, **{'edit.kind': 'inpaint', 'edit.mask': str(tmp_path / 'mask.png')})
    Image.new('1', (8000, 7000)).save(tmp_path / 'large.png')
    with pytest.raises(UserError, match='large.png has 8000x7000 pixels, and at most'):
        edited(run, **{'edit.input': str(tmp_path / 'large.png')})
    (tmp_path / 'text.png').write_text('no picture')
    with pytest.raises(UserError, match='is not a picture that can be read'):
        edited(run, **{'edit.input': str(tmp_path / 'text.png')})
    photograph = Image.new('RGB', (40, 20), (250, 0, 0))
    photograph.save(tmp_path / 'photograph.jpg')
    assert edited(run, **{'edit.input': str(tmp_path / 'photograph.jpg')})['given'].shape == (1, 8, 8, 1)


def test_a_gan_has_no_way_to_go(tmp_path):
    run = epath.Path(untrained(tiny_config('dcgan'), tmp_path / 'run'))
    with pytest.raises(UserError, match='config.family=dcgan: images are edited on the way from noise'):
        modes.run('edit', tiny_config('dcgan', **{'edit.input': 'digits:test:0'}), run)


def test_a_mean_flow_goes_no_way_step_by_step(tmp_path):
    fields = {'diffusion.schedule': 'flow', 'diffusion.parameterisation': 'mean_flow', 'sample.sampler': 'mean_flow'}
    run = epath.Path(untrained(tiny_config(**fields), tmp_path / 'run'))
    for mode in ('edit', 'likelihood'):
        with pytest.raises(UserError, match='^config.diffusion.parameterisation=mean_flow '):
            modes.run(mode, tiny_config(**fields, **{'edit.input': 'digits:test:0'}), run)
