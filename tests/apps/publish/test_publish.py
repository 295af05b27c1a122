"""Models that are exported with a card, uploaded to a stand-in of the Hub and loaded from there."""

import json
import pathlib
import re
import shutil
import sys

import jax
import numpy as np
import pytest
from etils import epath
from huggingface_hub import constants

import jaxgen
from jaxgen.apps.demo import kept_grid
from jaxgen.apps.interop.options import InteropOptions
from jaxgen.apps.publish.folder import export
from jaxgen.apps.publish.upload import upload
from jaxgen.apps.stored_config import read
from jaxgen.cli import modes
from jaxgen.errors import UserError
from tests.helpers.old_runs import RUNS as OLD_RUNS
from tests.helpers.stand_in_hub import stand_in

ROOT = pathlib.Path(__file__).parents[3]
PRETRAINED = ROOT / 'pretrained'
EVALUATION = ROOT / 'docs/results/compare_cifar/ddpm_10000.json'
FILES = {'.gitattributes', 'README.md', 'config.json', 'evaluation/9.json', 'samples.png', 'weights.safetensors'}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Return a run directory with weights, a kept grid, and evaluations of its step and of another one."""
    workdir = tmp_path_factory.mktemp('publish') / 'run'
    shutil.copytree(OLD_RUNS / 'exported', workdir, ignore=shutil.ignore_patterns('samples'))
    (workdir / 'samples.png').write_bytes((PRETRAINED / 'ddpm_cifar' / 'samples.png').read_bytes())
    result = json.loads(EVALUATION.read_text())
    (workdir / 'evaluation').mkdir()
    for name, step in (('9', jaxgen.load(workdir).step), ('8', -1)):
        result['protocol']['generated']['step'] = step
        (workdir / 'evaluation' / f'{name}.json').write_text(json.dumps(result))
    return workdir


@pytest.fixture(scope='module')
def exported(run, tmp_path_factory):
    """Return the exported folder."""
    folder = tmp_path_factory.mktemp('exported') / 'digits'
    return export(jaxgen.load(run)._trained, epath.Path(run), 'me/digits', 'mit', str(folder))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with stand_in(tmp_path / 'cache') as there:
        yield there


def test_a_model_comes_back_bit_for_bit(run, hub, capsys):
    config = read(run / 'config.json', ['interop'])
    interop = InteropOptions(format='jaxgen', hub='me/digits')
    modes.run('export', config.replace({'interop': interop}), epath.Path(run))
    assert "jaxgen.load('me/digits')" in capsys.readouterr().out
    uploaded = hub.newest('me/digits')
    assert uploaded.keys() == FILES and not hub.is_private['me/digits']
    for name in FILES - {'.gitattributes'}:
        assert uploaded[name] == pathlib.Path('runs/hub/me/digits', name).read_bytes()
    assert uploaded['weights.safetensors'] == (run / 'weights.safetensors').read_bytes()
    assert ('PUT', f'/lfs/{next(iter(hub.objects))}') in hub.requests  # through LFS, as the Hub wants it
    before, after = jaxgen.load(run), jaxgen.load('me/digits')
    assert after.step == before.step and after.class_names == before.class_names
    jax.tree.map(np.testing.assert_array_equal, after.params, before.params)
    (cached,) = pathlib.Path('cache').rglob('snapshots/*/weights.safetensors')
    assert cached.read_bytes() == uploaded['weights.safetensors']


def test_the_card_says_how_to_use_it_and_how_good_it_is(run, exported):
    card = (exported / 'README.md').read_text()
    yaml = pytest.importorskip('yaml')
    front = yaml.safe_load(card.split('---\n')[1])
    assert front['license'] == 'mit' and front['library_name'] == 'jaxgen'
    assert front['tags'] == ['jaxgen', 'jax', 'diffusion', 'ddpm', 'digits']
    for words in (
        "jaxgen.load('me/digits')",
        '![Samples of the model](samples.png)',
        'python main.py --config=runs/digits/config.json --mode=sample',
        '| FID (lower is better) | 51.70 |',
        'Protocol: 10,000 images (sampler DPM-Solver++ 2M, sampling steps 15',
        'against 50,000 images of cifar10:train',
        '(evaluation/9.json)',
    ):
        assert words in card
    assert 'before the weights were rounded' not in card and str(run) not in card
    (snippet,) = re.findall('```python\n(.*?)```', card, re.DOTALL)
    compile(snippet, 'card', 'exec')


def test_push_to_hub_adds_a_commit(run, hub, monkeypatch):
    """A checkpoint has no kept grid, so one is sampled; the same repository may be written again."""
    monkeypatch.setattr(kept_grid, 'picture', lambda trained: b'a picture')
    model = jaxgen.load(run)
    for number in (2, 3):  # the first commit is the one that makes the repository
        assert model.push_to_hub('me/digits', private=True).endswith('/me/digits')
        model._workdir = epath.Path('elsewhere')
        assert len(hub.repositories['me/digits']) == number
    assert hub.is_private['me/digits']
    assert hub.newest('me/digits')['samples.png'] == b'a picture'
    assert 'evaluation/9.json' in hub.newest('me/digits')  # a file of an earlier commit, which this one does not remove


def test_the_picture_shows_images_of_every_class():
    model = jaxgen.load(OLD_RUNS / 'exported')
    assert kept_grid.picture(model._trained).startswith(b'\x89PNG')


@pytest.mark.parametrize(
    ('name', 'change', 'sentence'),
    [
        ('me/digits', {'HF_TOKEN': ''}, 'there is no token .*: run hf auth login or set HF_TOKEN, then hf upload me/digits'),
        ('me/digits', {'HF_TOKEN': 'wrong'}, 'does not accept the token; .*: run hf auth login'),
        ('you/digits', {}, 'does not let the owner of the token write to you/digits; .*: choose a name under'),
        ('me/taken', {}, 'me/taken exists on the Hugging Face Hub and holds something other than a model of jaxgen'),
        ('me/digits', {'ENDPOINT': 'http://127.0.0.1:9'}, r'\(http://127.0.0.1:9\) cannot be reached; .*: connect, then'),
    ],
)  # fmt: skip
def test_refusals_keep_the_exported_folder(exported, hub, monkeypatch, name, change, sentence):
    hub.repositories['me/taken'] = [{'model.bin': b''}]
    for field, value in change.items():
        if field == 'ENDPOINT':
            monkeypatch.setattr(constants, field, value)
        else:
            monkeypatch.setenv(field, value)
    with pytest.raises(UserError, match=sentence) as refused:
        upload(exported, name)
    assert f'the model is in {exported}' in str(refused.value) and str(refused.value).isprintable()
    assert {path.name for path in exported.iterdir()} >= {'README.md', 'config.json', 'weights.safetensors'}
    assert all(method != 'PUT' for method, _ in hub.requests)


def test_without_the_library_of_the_hub(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(
        UserError, match='takes huggingface_hub; the model is in .*: pip install huggingface_hub, then hf'
    ):
        upload(exported, 'me/digits')


@pytest.mark.parametrize(
    'name', ['digits', 'me/', 'me/a/b', 'me/a--b', 'me/.a', 'me/a.', 'https://hub/me', 'me/' + 'a' * 99]
)
def test_names_that_the_hub_cannot_have(name):
    with pytest.raises(UserError, match='^hub=.* is not the name of a repository .*: write OWNER/NAME'):
        InteropOptions(hub=name, format='jaxgen')


def test_only_exports_in_jaxgens_format_are_uploaded():
    with pytest.raises(UserError, match='hub=me/a is for exports of interop.format=jaxgen'):
        InteropOptions(hub='me/a')
