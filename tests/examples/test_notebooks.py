"""The notebooks of examples/: they are stored without outputs, their cells run, and their commands are right."""

import json
import re

import numpy as np
import pytest
import torch

from jaxgen import models
from jaxgen.models.published import inception_weights
from tests.helpers import commands, notebooks, random_inception
from tests.tiny import LONG, untrained

SMALL_NETWORK = {'name': 'cnn', 'num_blocks': 1, 'base_channels': 8, 'norm_groups': 4}
NAMES = sorted(path.name for path in notebooks.FOLDER.glob('*.ipynb'))


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    """A cache with a random Inception in the place of the published one."""
    folder = tmp_path_factory.mktemp('cache')
    torch.save(random_inception.state(), folder / inception_weights.PUBLISHED.name)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch, cache):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(cache))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def are_pictures(pictures, count):
    return len(pictures) == count and all(p.ndim >= 2 and np.std(p) > 0 for p in pictures)


@pytest.mark.parametrize('name', NAMES)
def test_notebooks_are_stored_without_outputs(name):
    notebook, text = notebooks.read(name), (notebooks.FOLDER / name).read_text()
    assert text == json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + '\n'
    assert (notebook['nbformat'], notebook['nbformat_minor']) == (4, 5)
    cells = notebook['cells']
    ids = [cell['id'] for cell in cells]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r'[a-z0-9-]{1,64}', id_) for id_ in ids)
    for cell in cells:
        assert cell['cell_type'] == 'markdown' or (cell['outputs'], cell['execution_count']) == ([], None)
    assert ['parameters' in notebooks.tags_of(cell) for cell in cells if cell['cell_type'] == 'code'].index(True) == 0


@pytest.mark.parametrize('name', NAMES)
def test_commands_of_notebooks_are_right(name, monkeypatch):
    """Those of the text and those of all cells, also of cells that no other test runs."""
    monkeypatch.chdir(commands.ROOT)
    values = {}
    for cell in notebooks.read(name)['cells']:
        text = notebooks.text_of(cell)
        if 'parameters' in notebooks.tags_of(cell):
            exec(text, values)
        lines = [line.format(**values) for line in re.findall(r'^ *!(.*)$', text, flags=re.MULTILINE)]
        for script in lines if cell['cell_type'] == 'code' else commands.bash_blocks(text):
            for words in commands.commands_of(script):
                commands.check(words)


@LONG
def test_quickstart(folder):
    reference = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
    sizes = {'NUM_IMAGES': 10, 'SCALES': [1.0], 'STRENGTHS': [0.2], 'REFERENCE': reference}
    sizes |= {'NUM_EVALUATED': 16, 'NUM_REFERENCE': 16}
    pictures, found = notebooks.run('quickstart.ipynb', sizes)
    assert are_pictures(pictures, 5)
    assert 0 <= found['recognised']['accuracy'] <= 1 and np.isfinite(found['kid'].mean)


def test_a_diffusion_model_from_its_pieces(folder, monkeypatch):
    small = {'base_channels': 8, 'channel_multipliers': (1,), 'attention_resolutions': ()}
    monkeypatch.setattr(models, 'UNet', lambda unet=models.UNet, **fields: unet(**{**fields, **small}))
    sizes = {'STEPS': 3, 'BATCH_SIZE': 8, 'TIMESTEPS': 20, 'SAMPLING_STEPS': 2, 'NUM_TESTED': 80}
    cells = notebooks.read('ddpm_from_pieces.ipynb')['cells']
    texts = [notebooks.text_of(cell) for cell in cells]
    start, end = (
        next(i for i, text in enumerate(texts) if text.startswith(f'## {head}')) for head in ('The noise', 'Sample')
    )
    code = [texts[i] for i in range(start, end + 2) if cells[i]['cell_type'] == 'code']
    lines = [line for line in '\n'.join(code).splitlines() if line.strip() and not line.strip().startswith('#')]
    assert len(lines) <= 70  # as it says
    pictures, found = notebooks.run('ddpm_from_pieces.ipynb', sizes)
    assert are_pictures(pictures, 3) and np.isfinite(found['losses']).all()
    np.testing.assert_allclose(found['x'], found['same'], atol=1e-4)


@LONG
def test_a_gan_and_a_diffusion_model_on_your_images(folder):
    sizes = {'SIZE': 8, 'STEPS': {'dcgan': 2, 'ddpm': 2}, 'BATCH_SIZE': 8, 'CHANNELS': 8, 'MULTIPLIERS': (1,)}
    sizes |= {'NUM_DRAWN': 30, 'NUM_EVALUATED': 8}
    pictures, found = notebooks.run('gan_and_diffusion_on_your_images.ipynb', sizes)
    assert are_pictures(pictures, 3) and found['train'].class_names == ('disc', 'square', 'triangle')
    assert found['found'].keys() == {'dcgan', 'ddpm', 'real images'}


def test_kaggle_and_colab(folder, capsys):
    """A run of an earlier session is copied, goes on where that ended, and gives samples and an export."""
    path = str(commands.ROOT / 'configs/ddpm_digits.py')
    changes = {'data.batch_size': 16, 'train.steps': 4, 'train.log_every': 1, 'mesh.cpu_devices': None}
    changes |= {f'model.{name}': value for name, value in SMALL_NETWORK.items()}
    changes |= {
        'checkpoint.every': 2,
        'sample.every': 2,
        'sample.num': 8,
        'sample.batch_size': 8,
        'sample.num_steps': 2,
    }
    _, config = commands.resolved([f'--config={path}'])
    untrained(config.replace(changes), folder / 'before', step=2)
    parameters = {'CONFIG': path, 'OPTIONS': '', 'RUN': 'ddpm_digits', 'PREVIOUS': 'before'}
    pictures, _ = notebooks.run('kaggle_and_colab.ipynb', parameters, changes)
    said = capsys.readouterr().out
    assert 'resuming at step 2 of 4 steps' in said and '<jaxgen model: Diffusion, 8x8x1, step 4>' in said
    assert are_pictures(pictures, 2) and (folder / 'runs/ddpm_digits/samples/taken_away.npz').exists()
