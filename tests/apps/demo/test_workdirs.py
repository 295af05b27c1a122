"""The models that the page shows: their order, their titles and their kept grids."""

import json
import pathlib

import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgen.apps import stored_config
from jaxgen.apps.demo import kept_grid
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.io.images import png
from tests.tiny import tiny_config

PRETRAINED = sorted(path.parent for path in pathlib.Path(__file__).parents[3].glob('pretrained/*/weights.safetensors'))


def model(folder, fid=None, count=10_000, weights=True):
    folder.mkdir(parents=True)
    (folder / 'config.json').write_text(json.dumps(tiny_config().to_tree()))
    if weights:
        (folder / 'weights.safetensors').touch()
    else:
        (folder / 'checkpoints' / '4').mkdir(parents=True)
    if fid is not None:
        (folder / 'evaluation').mkdir()
        protocol = {'generated': {'count': count}, 'reference': {'count': count}}
        (folder / 'evaluation' / f'{count}_images.json').write_text(json.dumps({'fid': fid, 'protocol': protocol}))


@pytest.fixture
def workdirs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model(tmp_path / 'runs' / 'mine', fid=1.0, weights=False)
    model(tmp_path / 'pretrained' / 'a', fid=50.0)
    model(tmp_path / 'pretrained' / 'b', fid=9.0)
    model(tmp_path / 'pretrained' / 'few', fid=2.0, count=100)
    model(tmp_path / 'runs' / 'a', weights=False)
    return Workdirs(tiny_config(), epath.Path('runs/mine'))


def test_the_pretrained_model_with_the_lowest_fid_is_first(workdirs):
    names = workdirs.able_to_sample()
    assert names[:3] == ['pretrained/b', 'pretrained/a', 'pretrained/few'] == workdirs.pretrained()
    assert set(names[3:]) == {'runs/mine', 'runs/a'}
    assert workdirs.evaluation('pretrained/few') is None  # 100 images are too few for an FID


def test_models_have_short_names_with_their_fid(workdirs):
    assert workdirs.choices(['pretrained/b', 'pretrained/a', 'runs/a']) == [
        ('b, FID 9.0', 'pretrained/b'),
        ('pretrained/a, FID 50.0', 'pretrained/a'),
        ('runs/a', 'runs/a'),
    ]


def test_the_first_grid_is_kept_or_the_last_of_training(workdirs, tmp_path):
    grid = png(np.zeros((2, 2, 1), np.uint8))
    (tmp_path / 'runs' / 'mine' / 'samples').mkdir()
    for step in (4, 20, 3):
        (tmp_path / 'runs' / 'mine' / 'samples' / f'step_{step}.png').write_bytes(grid)
    (tmp_path / 'pretrained' / 'b' / kept_grid.FILE).write_bytes(grid)
    assert workdirs.kept_grid('runs/mine').what == 'samples at step 20 of training'
    assert workdirs.kept_grid('pretrained/b').what == 'samples kept with the model'
    assert workdirs.kept_grid('pretrained/a') is None


@pytest.mark.parametrize('folder', PRETRAINED, ids=lambda folder: folder.name)
def test_a_grid_is_kept_with_every_pretrained_model(folder):
    for name, width in ((kept_grid.FILE, 660), (kept_grid.NARROW_FILE, 344)):
        assert (folder / name).stat().st_size < 200_000
        with Image.open(folder / name) as grid:
            assert abs(grid.width - width) < 30
    assert stored_config.read(folder / 'config.json').model.conditional
