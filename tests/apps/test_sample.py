"""How the files of --mode=sample are named, and where they go."""

import pytest
from etils import epath

from jaxgen.apps import sample, untrained
from jaxgen.apps.stored_config import modernised
from jaxgen.io.run_directory import output_folder
from tests.tiny import tiny_config


@pytest.mark.parametrize(
    ('family', 'fields', 'name'),
    [
        ('ddpm', {}, '16_images-ddim_4-seed_0'),
        (
            'ddpm',
            {'sample.classes': ('3', '8'), 'sample.guidance_scale': 1.5},
            '16_images-3_8-ddim_4-guidance_1.5-seed_0',
        ),
        ('ddpm', {'sample.classes': tuple('12345'), 'seed': 7}, '16_images-1_2_3_and_2_more-ddim_4-seed_7'),
        ('ddpm', {'sample.eta': 0.5, 'sample.clip': False}, '16_images-ddim_4-eta_0.5-clip_False-seed_0'),
        (
            'ddpm',
            {'sample.guide': 'runs/small', 'sample.guide_scale': 1.5},
            '16_images-ddim_4-guide_runs/small-guide_scale_1.5-seed_0',
        ),
        ('dcgan', {'sample.num': 3, 'sample.ema': False}, '3_images-without_ema-seed_0'),
    ],
)
def test_a_name_tells_what_was_asked_for(family, fields, name):
    config = tiny_config(family, **fields)
    method, _ = untrained.build(config)
    assert sample.name_of(config, method) == name


def test_what_is_made_with_published_models_goes_to_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert output_folder(epath.Path('/x/pretrained/ddpm')) == epath.Path(tmp_path) / 'runs' / 'ddpm'
    assert output_folder(epath.Path('/x/runs/ddpm')) == epath.Path('/x/runs/ddpm')


def test_the_name_that_was_once_the_default_is_not_set():
    stored = tiny_config(**{'sample.name': 'samples'}).to_tree()
    assert modernised(stored)['sample']['name'] is None
    assert modernised({**stored, 'sample': {**stored['sample'], 'name': 'mine'}})['sample']['name'] == 'mine'
