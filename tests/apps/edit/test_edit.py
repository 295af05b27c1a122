"""The kinds of edits on a tiny model, against what they must keep, and what is refused."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgen.apps.edit import denoising_steps
from jaxgen.apps.edit.edit import EDITS, Editor
from jaxgen.apps.edit.options import KINDS
from jaxgen.apps.trained import Trained
from jaxgen.apps.untrained import build_method
from jaxgen.cli import modes
from jaxgen.errors import UserError
from jaxgen.methods.diffusion.state import DiffusionState
from jaxgen.runtime.mesh import make_mesh
from tests.helpers.pictures_in_grids import shows
from tests.tiny import tiny_config, untrained

# The untrained network with this parameterisation is the best linear estimate.
EDM_NET = {'diffusion.parameterisation': 'edm'}


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
        assert all(shows(last, image[..., 0], 16) for image in made['images'])
        grid = np.asarray(Image.open(folder / 'grid.png'))
        assert all(shows(grid, image[..., 0], 16) for image in (*made['given'], *made['images']))
        return dict(made)


@pytest.mark.parametrize(
    ('first', 'total', 'shown', 'words'),
    [
        (1, 5, [1, 2, 3, 4, 5], 'all 5 steps'),
        (1, 10, [2, 4, 6, 8, 10], 'every second of 10 steps'),
        (0, 50, [0, 10, 20, 30, 40, 50], '5 of 50 steps'),
        (1, 1, [1], 'the only step'),
    ],
)
def test_a_strip_says_which_steps_it_shows(first, total, shown, words):
    numbers = np.arange(first, total + 1)
    found = numbers[denoising_steps._evenly(numbers, 6)]
    assert found.tolist() == shown and denoising_steps._which(found, total) == words


def test_less_strength_changes_less(run):
    off = []
    for strength in (0.5, 1.0):
        made = edited(run, **{'edit.strength': strength})
        assert made['images'].shape == (3, 8, 8, 1) and made['given'].shape == (1, 8, 8, 1)
        off.append(np.mean(np.abs(made['images'].astype(float) - made['given'])))
    assert off[0] < off[1]
    strip = np.asarray(Image.open(run / 'edits' / 'image2image' / 'strip.png'))
    assert shows(strip[:250], made['given'][0, ..., 0], 16)  # the rows begin with the input


def test_outside_the_mask_the_image_is_unchanged(run, tmp_path):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = 255
    Image.fromarray(mask).save(tmp_path / 'mask.png')
    made = edited(run, **{'edit.kind': 'inpaint', 'edit.mask': str(tmp_path / 'mask.png')})
    same = made['images'] == made['given']
    assert np.all(same | (mask[..., None] > 0)) and not np.all(same)


def test_interpolation_begins_and_ends_with_the_images(run, capsys):
    fields = {'edit.kind': 'interpolate', 'edit.other': 'digits:test:7', 'edit.num': 4, 'edit.inversion_iterations': 20}
    made = edited(run, **fields, **{'sample.num_steps': 10})
    ends = made['images'][[0, -1]].astype(float)
    assert np.sqrt(np.mean((ends - made['given']) ** 2)) < 4
    assert 'an image differs by' in capsys.readouterr().out


class OfClasses(nn.Module):
    """The exact denoiser, preconditioned as in EDM, of images of class k from N(k / 20, 1/4)."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, x, t, labels, *, train=False):
        sigma = jnp.exp(4 * t)
        return ((labels / 20) * 2 * sigma / jnp.hypot(sigma, 0.5)).reshape(-1, 1, 1, 1) + 0 * x


def test_transfer_changes_the_mean_of_the_class_alone():
    """DDIM treats the distance from the mean of a class alike in all classes, so a transfer exchanges the means only."""
    fields = {'kind': 'transfer', 'input': 'digits:test:5', 'source_class': '5', 'inversion_iterations': 20}
    c = tiny_config(
        **{f'edit.{name}': value for name, value in fields.items()},
        **{
            **EDM_NET,
            'diffusion.schedule': 'edm',
            'sample.clip': False,
            'sample.num_steps': 10,
            'sample.classes': ('9', '2'),
        },
    )
    method = dataclasses.replace(build_method(c, (8, 8, 1), 10), network=OfClasses())
    made = Editor(Trained(c, method, make_mesh(), 0, DiffusionState({}, {}, (), 0), tuple('0123456789'))).transfer()
    shifts = np.array([0, 9 - 5, 2 - 5]).reshape(-1, 1, 1, 1) / 20 * 127.5
    expected = np.clip(made.given + shifts, 0, 255)
    assert made.given.shape == (1, 8, 8, 1) and np.ptp(made.given) > 200
    np.testing.assert_allclose(made.made, expected, atol=1)


def test_transfer_makes_the_image_and_one_for_each_class(run):
    made = edited(run, **{'edit.kind': 'transfer', 'edit.source_class': '5', 'sample.classes': ('3', '8')})
    assert made['images'].shape[0] == 3


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'edit.input': None}, 'config.edit.input is not set'),
        ({'edit.kind': 'interpolate'}, 'config.edit.other is not set, but edit.kind=interpolate needs it'),
        ({'edit.input': 'digits:test:360'}, 'digits:test has 360 images'),
        ({'edit.input': 'nowhere.png'}, 'config.edit.input=nowhere.png cannot be read'),
        ({'edit.input': 'digits:best:3'}, "the split 'best' does not exist"),
        ({'edit.strength': 0.0}, 'config.edit.strength=0.0 must be above 0'),
        ({'edit.kind': 'invert'}, 'config.edit.kind'),
        ({'edit.kind': 'inpaint'}, 'config.edit.mask is not set'),
        ({'edit.kind': 'transfer'}, 'config.edit.source_class is not set'),
        ({'edit.kind': 'transfer', 'edit.source_class': '5'}, 'config.sample.classes is not set'),
        (
            {'edit.kind': 'transfer', 'edit.source_class': 'x', 'sample.classes': ('3',)},
            "config.edit.source_class: 'x' does not",
        ),
        (
            {'edit.kind': 'interpolate', 'sample.sampler': 'ddpm', 'edit.other': 'digits:test:1'},
            'set config.sample.sampler=ddim',
        ),
    ],
)
def test_an_impossible_edit_is_refused_in_a_sentence(run, fields, words):
    with pytest.raises(UserError, match=words):
        edited(run, **fields)


def test_unsuitable_images_and_masks_are_refused(run, tmp_path):
    Image.new('RGBA', (20, 20)).save(tmp_path / 'alpha.png')
    with pytest.raises(UserError, match='input=.*alpha.png has transparent pixels: .* of your choice$'):
        edited(run, **{'edit.input': str(tmp_path / 'alpha.png')})
    Image.new('L', (9, 8), 255).save(tmp_path / 'mask.png')
    with pytest.raises(UserError, match='has 9x8 pixels, but a mask needs the 8x8 of the network'):
        edited(run, **{'edit.kind': 'inpaint', 'edit.mask': str(tmp_path / 'mask.png')})
    Image.new('1', (8000, 7000)).save(tmp_path / 'large.png')
    with pytest.raises(UserError, match='large.png has 8000x7000 pixels, but at most .* make it smaller$'):
        edited(run, **{'edit.input': str(tmp_path / 'large.png')})
    Image.fromarray(np.full((8, 8), 300, np.uint16)).save(tmp_path / 'dark.png')  # of 16 bits, and nearly black
    with pytest.raises(UserError, match='dark.png is black everywhere'):
        edited(run, **{'edit.kind': 'inpaint', 'edit.mask': str(tmp_path / 'dark.png')})
    (tmp_path / 'text.png').write_text('no picture')
    with pytest.raises(UserError, match='is not an image that can be read'):
        edited(run, **{'edit.input': str(tmp_path / 'text.png')})
    photograph = Image.new('RGB', (40, 20), (250, 0, 0))
    photograph.save(tmp_path / 'photograph.jpg')
    assert edited(run, **{'edit.input': str(tmp_path / 'photograph.jpg')})['given'].shape == (1, 8, 8, 1)


def test_a_gan_cannot_edit(tmp_path):
    run = epath.Path(untrained(tiny_config('dcgan'), tmp_path / 'run'))
    with pytest.raises(UserError, match='config.family=dcgan cannot edit images'):
        modes.run('edit', tiny_config('dcgan', **{'edit.input': 'digits:test:0'}), run)


def test_a_mean_flow_neither_edits_nor_has_a_likelihood(tmp_path):
    fields = {'diffusion.schedule': 'flow', 'diffusion.parameterisation': 'mean_flow', 'sample.sampler': 'mean_flow'}
    run = epath.Path(untrained(tiny_config(**fields), tmp_path / 'run'))
    for mode in ('edit', 'likelihood'):
        with pytest.raises(UserError, match='^config.diffusion.parameterisation=mean_flow '):
            modes.run(mode, tiny_config(**fields, **{'edit.input': 'digits:test:0'}), run)


def test_every_kind_of_edit_has_a_function():
    assert tuple(EDITS) == KINDS
