"""A model of a folder of images, from its files to samples: what the run directory knows, and what it notices."""

import json
import shutil

import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgen import load
from jaxgen.apps.data import load_split, resolve
from jaxgen.apps.demo import workdirs
from jaxgen.apps.same_run import run_fields
from jaxgen.apps.stored_config import draft
from jaxgen.cli import modes
from jaxgen.errors import UserError
from tests.tiny import tiny_config, tiny_draft, untrained

FIELDS = {
    'data.name': 'folder',
    'data.image_size': 8,
    'data.channels': 1,
    'data.batch_size': 8,
    'data.test_fraction': 0.3,
    'train.steps': 2,
    'checkpoint.every': 2,
    'sample.every': None,
    'sample.num': 8,
    'sample.batch_size': 8,
}
CLASSES = ('Zoë', 'my cat')


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path / 'cache'))


def fill(folder, count=20, seed=0):
    """Write images of two classes, and a file that is no image."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        path = folder / CLASSES[i % 2] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 12), np.uint8)).save(path)
    (folder / CLASSES[0] / 'broken.jpg').write_bytes(b'nothing')


@pytest.fixture
def photos(tmp_path):
    fill(tmp_path / 'photos')
    return tmp_path / 'photos'


def command(mode, workdir, family='ddpm', **fields):
    """Run a mode with a tiny config of the folder, as the command line does."""
    c = tiny_draft(family, **{**FIELDS, 'data.max_refused': 0.1, **fields})
    modes.run(mode, modes.config_of(modes.MODES[mode], c), epath.Path(workdir))


def test_a_run_knows_its_images_without_them(photos, tmp_path, capsys):
    run = tmp_path / 'run'
    command('train', run, **{'data.path': str(photos)})
    stored = json.loads((run / 'config.json').read_text())['data']
    assert stored['class_names'] == list(CLASSES) and (stored['image_size'], stored['channels']) == (8, 1)
    assert '1 of 21 files cannot be used, such as Zoë/broken.jpg' in capsys.readouterr().out

    shutil.rmtree(photos)
    shutil.rmtree(tmp_path / 'cache')
    command('sample', run)  # without the path: the run directory knows it
    samples = np.load(run / 'samples' / 'samples.npz')
    assert samples['images'].shape == (8, 8, 8, 1) and samples['labels'].tolist() == [0, 1] * 4
    model = load(str(run))
    assert model.class_names == CLASSES
    assert model.sample(2, classes=['Zoë']).shape == (2, 8, 8, 1)
    with pytest.raises(UserError, match=r'config\.data\.path=.*photos does not exist'):
        command('likelihood', run, **{'likelihood.num': 4})


def test_a_run_goes_on_with_the_images_it_began_with(photos, tmp_path):
    run = tmp_path / 'run'
    command('train', run, **{'data.path': str(photos)})
    moved = photos.rename(tmp_path / 'moved')
    command('train', run, **{'data.path': str(moved), 'train.steps': 4})
    rows = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    assert [row['step'] for row in rows] == [2, 4]
    fill(moved, count=24, seed=1)
    with pytest.raises(UserError, match='the images of .*moved have changed since this run began: bring the old'):
        command('train', run, **{'data.path': str(moved), 'train.steps': 6})
    command('data', run, **{'data.path': str(moved), 'data.batch_size': 64})  # of the images as they are, however few
    assert sum(json.loads((run / 'data' / 'statistics.json').read_text())['images_by_class'].values()) > 12
    command('train', tmp_path / 'other', **{'data.path': str(moved)})


def test_the_path_does_not_make_another_run():
    names = run_fields(modes.config_of(modes.MODES['train'], tiny_draft()))
    assert 'data.fingerprint' in names and 'data.path' not in names and 'data' not in names


def test_the_report_on_the_data_of_a_folder(photos, tmp_path, capsys):
    command('data', tmp_path / 'run', **{'data.path': str(photos)})
    found = json.loads((tmp_path / 'run' / 'data' / 'statistics.json').read_text())
    assert found['sizes'] == {'12x9': sum(found['images_by_class'].values())}
    ((name, why),) = found['refused']
    assert name == 'Zoë/broken.jpg' and why.startswith('Zoë/broken.jpg is not an image')
    assert Image.open(tmp_path / 'run' / 'data' / 'images.png').size[0] > 64
    said = capsys.readouterr().out
    assert (
        'images of each original size:\n  12x9  ####' in said
        and 'files that cannot be used: 1\n  Zoë/broken.jpg is' in said
    )


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({}, r'config\.data\.path is not set: name a folder of images, a .zip or a .tar. Only a model that is'),
        (
            {'data.path': 'PHOTOS', 'data.batch_size': 64},
            r'batch_size=64 is more than the \d+ training images .*batch_size=8',
        ),
        (
            {'data.path': 'PHOTOS', 'data.image_key': 'image'},
            r'config\.data\.image_key=image has no effect with name=folder',
        ),
        ({'data.path': 'PHOTOS', 'data.classes': ('dog',)}, r"config\.data\.classes 'dog' does not exist"),
        (
            {'data.path': 'PHOTOS', 'data.crop': 'random', 'train.resident_data': True},
            r'config\.train\.resident_data=True has no crop=random',
        ),
        ({'data.name': 'hf:no/thing'}, r'config\.data\.name=hf:no/thing is not on this machine'),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(photos, tmp_path, fields, words, monkeypatch):
    from jaxgen.data.prepared import hub

    monkeypatch.setattr(hub, 'reachable', lambda url: False)
    fields = {name: str(photos) if value == 'PHOTOS' else value for name, value in fields.items()}
    with pytest.raises(UserError, match=words) as e:
        command('train', tmp_path / 'run', **fields)
    assert str(e.value).isprintable()
    assert not (tmp_path / 'run').exists()


def test_metrics_take_the_split_of_the_run_as_reference(photos, tmp_path):
    from jaxgen.apps.evaluate.evaluator import make_evaluator
    from jaxgen.metrics.sets import image_sets

    c = tiny_draft(**{**FIELDS, 'data.path': str(photos), 'data.max_refused': 0.1})
    config = resolve(modes.config_of(modes.MODES['evaluate'], c), epath.Path(tmp_path / 'run'))
    train, test = (load_split(config, split) for split in ('train', 'test'))
    assert len(train.images) + len(test.images) == 20 and len(test.images) > 0
    found = image_sets.from_dataset(test, 'folder:test')
    assert found.count == len(test.images) and found.class_names == CLASSES
    np.testing.assert_array_equal(np.concatenate(list(found.pieces())), test.images[:])
    whole = image_sets.from_array(np.asarray(test.images)).description['sha256']
    assert found.description['sha256'] == whole
    with pytest.raises(UserError, match='extractor=judge needs a classifier, and jaxgen has none for photos'):
        make_evaluator(config.replace({'evaluation.extractor': 'judge', 'evaluation.num': 16}), None, ('kid',))


def test_the_page_shows_a_model_of_a_folder(photos, tmp_path):
    from jaxgen.apps.demo.tabs import parts

    c = tiny_draft(**{**FIELDS, 'data.path': str(photos), 'data.max_refused': 0.1})
    config = resolve(modes.config_of(modes.MODES['train'], c), epath.Path(tmp_path / 'runs' / 'mine'))
    untrained(config, epath.Path(tmp_path / 'runs' / 'mine'))
    shutil.rmtree(photos)
    found = workdirs.Workdirs(
        tiny_config(**{'demo.workdirs': (str(tmp_path / 'runs' / 'mine'),)}), epath.Path(tmp_path / 'none')
    )
    shown = found.config(str(tmp_path / 'runs' / 'mine'))
    inputs = parts.model_inputs(shown)
    assert inputs['classes']['choices'] == list(CLASSES)
    assert shown.data.title == 'photos'


def test_a_stored_config_is_a_config_file(photos, tmp_path):
    command('train', tmp_path / 'run', 'dcgan', **{'data.path': str(photos), 'data.image_size': 8})
    again = modes.config_of(modes.MODES['train'], draft(tmp_path / 'run' / 'config.json'))
    assert again.data.class_names == CLASSES and again.data.fingerprint is not None
