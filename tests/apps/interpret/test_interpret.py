"""The mode from a run directory to its report, and what it refuses."""

import re

import jax
import numpy as np
import pytest
from etils import epath

from jaxgen.apps.finetune import adapters
from jaxgen.apps.interpret.interpret import interpret
from jaxgen.apps.restore import restore
from jaxgen.cli import modes
from jaxgen.data import load
from jaxgen.errors import UserError
from tests.helpers.interpretation import interpret_config
from tests.tiny import LONG, tiny_config, untrained


def test_from_a_run_directory_to_a_report(trained):
    trained, workdir = trained
    modes.run('interpret', trained.config, workdir)
    folder = workdir / 'interpretation'
    networks = {'ddpm': {'cnn', 'cnn_untold'}, 'dcgan': {'generator', 'discriminator'}}[trained.config.method]
    assert {p.name for p in folder.iterdir()} == {
        'report.html',
        'ablation.npz',
        'synthesis.npz',
        *(f'{name}.npz' for name in networks),
    }
    page = (folder / 'report.html').read_text()
    assert '<svg' in page and 'data:image/png' in page and not re.search(r'(src|href)="(?!data:|#)', page)
    assert 'nan' not in re.sub(r'<[^>]*>', ' ', page).lower().split()
    with np.load(folder / 'ablation.npz') as arrays:
        assert arrays['right'].shape == (8, 20) and set(arrays['class']) == {'3', '8'}
        for factor in (0.0, 2.0):
            own, random = (
                [
                    100 * arrays[on][(arrays['factor'] == factor) & (arrays['draw'] == d), 0]
                    for on in ('on_class', 'on_others')
                ]
                for d in (0, 1)
            )
            change, other = np.mean(own, 1) - np.mean(random, 1)
            differs = f'its own channels differs from that by random channels by {change:+.1f} points'
            assert re.search(f'Times {factor:g}, in the mean over 2 classes: [^(]* {re.escape(differs)}', page)
            assert f'After subtracting the change on other images, it differs by {change - other:+.1f} points' in page
    assert (
        page.count('two of the 4 such tests') == 2
        and 'as many random channels of the same blocks, or all others' in page
    )
    assert len(re.findall('(beyond all of|within) 1 random choice', page)) == 4 and 'in up to 100% of cases' in page
    for name in networks:
        with np.load(folder / f'{name}.npz') as arrays:
            levels = len(arrays['levels'])
            block = next(key for key in arrays if key.startswith('mean/'))
            assert arrays[block].shape[:2] == (levels, 10) and arrays['counts'].sum() == 40
            name = block.partition('/')[2]
            assert arrays[f'low/{name}'].shape == arrays[block].shape and 0 < arrays[f'low/{name}'].mean() < 1
            assert all(f'>{bits:.3g}<' in page for bits in arrays[f'information_excess/{name}'].mean(1))
            assert np.all(arrays[f'index_strict/{name}'] >= 1 / 21) and arrays[f'information_strict/{name}'].ndim == 2
    if 'generator' in networks:  # the quicker of the two: all of it is the same a second time
        before = {p.name: p.read_bytes() for p in folder.iterdir()}
        modes.run('interpret', trained.config, workdir)
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'interpret.layer': 'blok0'}, r"config.interpret.layer: 'blok0' does not exist; did you mean block0"),
        (
            {'interpret.channels': ('conv_inn:0',)},
            "config.interpret.channels: the layer 'conv_inn' .* did you mean conv_in",
        ),
        (
            {'interpret.channels': ('block0:9',)},
            r"config.interpret.channels: 'block0:9' does not exist; did you mean block0:",
        ),
        (
            {'interpret.channels': ('block0',)},
            "config.interpret.channels: 'block0' does not exist; did you mean block0:",
        ),
        ({'interpret.classes': ('3', '33')}, "config.interpret.classes: '33' does not exist; did you mean 3"),
        ({'interpret.parts': ('ablate',)}, "config.interpret.parts 'ablate' does not exist; did you mean ablation"),
        ({'interpret.top_k': 99}, 'config.interpret.top_k=99 must be below the 24 channels of the network'),
        ({'interpret.layer': 'block0', 'interpret.top_k': 8}, 'must be below the 8 channels of block0'),
        ({'interpret.levels': 11}, 'config.interpret.levels=11 must be at most half of config.diffusion.timesteps=20'),
        ({'interpret.factors': (-1.0,)}, 'config.interpret.factors'),
        ({'interpret.strengths': (0.5, 1.5)}, 'config.interpret.strengths'),
        ({'interpret.bins': 1}, 'config.interpret.bins=1 must be at least 2'),
        ({'interpret.false_discoveries': 0.0}, 'config.interpret.false_discoveries=0.0 must be above 0'),
        (
            {'interpret.permutations': 18},
            'config.interpret.permutations=18 is too small .* at false_discoveries=0.05: set it to at least 19',
        ),
        ({'interpret.smoothness': -1.0}, 'config.interpret.smoothness=-1.0'),
        ({'interpret.seed': -1}, 'config.interpret.seed=-1'),
        ({'evaluation.judge': 'nowhere.safetensors'}, 'config.evaluation.judge'),
        (
            {'diffusion.schedule': 'flow', 'diffusion.parameterisation': 'mean_flow', 'sample.sampler': 'mean_flow'},
            'config.diffusion.parameterisation=mean_flow cannot be interpreted',
        ),
    ],
)
def test_an_impossible_interpretation_is_refused(ddpm, fields, words):
    _, workdir = ddpm
    with pytest.raises(UserError, match=words):
        modes.run('interpret', interpret_config('ddpm', **fields), workdir)


@LONG
def test_a_fine_tuned_model_is_examined_on_all_its_classes(tmp_path):
    base, tuned = (epath.Path(tmp_path) / name for name in ('base', 'tuned'))
    known = interpret_config('ddpm', **{'data.classes': ('8', '3'), 'data.max_examples': 20, 'interpret.levels': 1})
    fields = {'interpret.num': None, 'interpret.levels': 1, 'interpret.factors': (0.0,), 'interpret.classes': ('5',)}
    fields |= {'data.classes': ('5',), 'data.max_examples': 2, 'interpret.parts': ('ablation',)}
    c = interpret_config('ddpm', **fields, **{'finetune.base': str(base), 'finetune.targets': ('dense',)})
    untrained(known, base)
    untrained(c, tuned)
    modes.run('interpret', c, tuned)
    every = load('digits', 'train').labels
    with np.load(tuned / 'interpretation' / 'cnn.npz') as arrays:
        assert arrays['classes'].tolist() == ['8', '3', '5']
        assert arrays['counts'].tolist() == [np.sum(every == k) for k in (8, 3, 5)]
    with np.load(tuned / 'interpretation' / 'ablation.npz') as arrays:
        assert np.bincount(arrays['labels']).tolist() == [2, 2, 2] and set(arrays['class']) == {'5'}

    method = restore(c, tuned).method
    factors = jax.tree.map(np.asarray, method.init(jax.random.key(0)).ema)
    adapters.write(tmp_path / 'a.safetensors', adapters.of_config(c, factors, method.base_hash, ('8', '3', '5')))
    with_adapter = known.replace(
        {
            'sample.adapter': str(tmp_path / 'a.safetensors'),
            'interpret.num': None,
            'interpret.parts': (),
            'interpret.classes': None,
        }
    )
    found = interpret(restore(with_adapter, base), base)
    assert found.atlases[0].counts.tolist() == [np.sum(every == k) for k in (8, 3, 5)]


def test_a_model_of_one_class_tells_none_apart(tmp_path):
    c = interpret_config('ddpm', **{'data.classes': ('3',)})
    with pytest.raises(UserError, match='config.data.classes=3 is a single class'):
        modes.run('interpret', c, untrained(c, epath.Path(tmp_path) / 'run'))


def test_a_model_without_classes_is_not_ablated(tmp_path):
    c = interpret_config('ddpm', **{'model.conditional': False})
    with pytest.raises(UserError, match='config.model.conditional=False .* --config.interpret.parts=synthesis'):
        modes.run('interpret', c, epath.Path(tmp_path) / 'run')


def test_a_classifier_is_not_interpreted(tmp_path):
    with pytest.raises(UserError, match='config.family=judge generates no images'):
        modes.run('interpret', tiny_config('judge'), epath.Path(tmp_path) / 'run')
