"""``--mode=compare``: one self-contained page, no metric computed twice, a warning where protocols differ."""

import json
import os
import pathlib
import re

import numpy as np
import pytest
from etils import epath

from jaxgen.apps.compare import compare
from jaxgen.apps.compare import images as page
from jaxgen.apps.compare.report import verdict
from jaxgen.apps.reports import plots
from jaxgen.cli import modes
from jaxgen.data import Dataset, loading
from jaxgen.errors import UserError
from jaxgen.io.run_directory import EVALUATION_IN_TRAINING
from jaxgen.metrics import features
from jaxgen.metrics.evaluator import Evaluator
from jaxgen.metrics.registry import parameters
from tests.helpers.html_page import Page
from tests.tiny import tiny_config, untrained

FIELDS = {'evaluation.extractor': 'judge', 'evaluation.num': 150, 'compare.seeds': 2}


@pytest.fixture(scope='module')
def workdirs(tmp_path_factory):
    root = epath.Path(tmp_path_factory.mktemp('runs'))
    for family in ('ddpm', 'dcgan'):
        folder = untrained(tiny_config(family), root / family) / EVALUATION_IN_TRAINING
        folder.mkdir(parents=True)
        for step in (2, 4):
            result = {'fid': 9.0 / step, 'protocol': {'generated': {'count': 50}}}
            (folder / f'{step}.json').write_text(json.dumps(result))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('JAXGEN_CACHE_DIR', str(root / 'cache'))
        yield os.path.relpath(root / 'ddpm'), str(root / 'dcgan')  # a path as users write it, and a whole one


@pytest.fixture(scope='module')
def report(workdirs, tmp_path_factory):
    workdir = epath.Path(tmp_path_factory.mktemp('comparison'))
    modes.run('compare', tiny_config(**{**FIELDS, 'compare.workdirs': workdirs}), workdir)
    return workdir


def test_the_page_needs_nothing_from_elsewhere(report):
    text = (report / 'report.html').read_text()
    page = Page(text)
    assert not page.open and 'script' not in page.tags
    assert all(address.startswith(('data:', '#')) for address in page.addresses)
    assert not re.search(r'url\((?!#)', text) and '@import' not in text
    assert plots.INK not in text and text.count('currentColor') > 20


def test_the_page_shows_everything(report):
    page = Page((report / 'report.html').read_text())
    for words in (
        'FID', 'KID', 'precision', 'recall', 'classifier: right class', 'parameters', 'training images', 'sampling images/sec',
        'network calls per image', 'Training', 'By class', 'Samples', 'Nearest training images', 'Protocols', 'real, held out',
        'generator ',  'fewer than 2,048', '2 seeds', 'features of judge-digits', '±', 'Measured during training with 50 images',
        'Comparison of ddpm and dcgan, 20', 'No winner can be named', 'Bars are means over 2 seeds', 'from the first of the',
    ):  # fmt: skip
        assert words in page.text, words
    assert page.tags.count('svg') >= 4 and page.tags.count('img') == 5


def test_metrics_of_a_classifier_are_not_called_fid(report):
    html = (report / 'report.html').read_text()
    row, few = '<th scope="row" class="weak">', '<small>too few images: 150 instead of 2,048 or more</small>'
    assert f'{row}FID of classifier features{few}' in html and f'{row}FID<' not in html
    assert 'Inception Score of the classifier' in html and 'no value can be compared with published ones' in html


def entry(name, fids, count=5000):
    protocol = {'generated': {'count': count}, 'reference': {'count': count}}
    results = [{'fid': fid, 'protocol': protocol} for fid in fids]
    return compare.Entry(name, results, {}, [], [], np.zeros(0), None, (), None)


def test_the_verdict_names_the_best_model_and_doubts_a_small_lead():
    one = verdict([entry('a', [9.0]), entry('b', [7.0])])
    assert one.startswith('b has the best FID (lower is better): b 7.00, a 9.00.') and 'one seed' in one
    apart, near = [verdict([entry('a', [9.0, 9.2]), entry('b', [other, other + 0.2])]) for other in (7.0, 8.9)]
    assert apart.endswith('a 9.10 ± 0.14.') and near.endswith('compare with more seeds.')
    few = verdict([entry('a', [9.0], 100), entry('b', [7.0], 100)])
    assert few.startswith('No winner can be named (too few images: 100') and 'a 9.00' in few
    assert verdict([entry('a', [9.0])]) == ''


def test_no_metric_is_computed_twice_under_one_protocol(report, workdirs, monkeypatch):
    before = {p.name: p.read_bytes() for p in (report / 'evaluation').iterdir()}
    assert sorted(name.rpartition('.')[2] for name in before) == ['json'] * 4 + ['npz'] * 2
    evaluated, sampled, read, referred = [], [], [], []
    reference = features.stored_features
    sample, load = page._sample, loading._known_by_name
    whole = Evaluator.__call__

    def counted(self, images, *args):
        evaluated.append(images.description['seed'])
        return whole(self, images, *args)

    monkeypatch.setattr(Evaluator, '__call__', counted)
    monkeypatch.setattr(page, '_sample', lambda *args: sampled.append(1) or sample(*args))
    monkeypatch.setattr(loading, '_known_by_name', lambda *args: read.append(args[1]) or load(*args))
    monkeypatch.setattr(features, 'stored_features', lambda *args: referred.append(1) or reference(*args))
    fields = {**FIELDS, 'compare.workdirs': workdirs}
    modes.run('compare', tiny_config(**fields), report)
    assert not evaluated and not sampled and not referred and read == ['train', 'test']
    assert before == {p.name: p.read_bytes() for p in (report / 'evaluation').iterdir()}
    modes.run('compare', tiny_config(**{**fields, 'evaluation.num': 151, 'compare.seeds': 1}), report)
    assert evaluated == [0, 0] and referred == [1]


def test_results_of_evaluate_are_used_again(workdirs, tmp_path, monkeypatch):
    """A result under another protocol, or without one of the metrics, is not."""
    fields = {**FIELDS, 'compare.seeds': 1, 'evaluation.metrics': ('fid',)}
    folder = epath.Path(workdirs[1])
    modes.run('evaluate', tiny_config(folder.name, **fields), folder)
    stored = (folder / 'evaluation' / '4.json').read_text()
    made = []
    whole = Evaluator.__call__
    monkeypatch.setattr(Evaluator, '__call__', lambda self, *args: made.append(1) or whole(self, *args))
    fields['compare.workdirs'] = (str(folder),)
    modes.run('compare', tiny_config(**fields), epath.Path(tmp_path))
    assert not made
    assert [p.read_text() for p in (tmp_path / 'evaluation').glob('*.json')] == [stored]
    modes.run('compare', tiny_config(**{**fields, 'evaluation.metrics': ('fid', 'kid')}), epath.Path(tmp_path))
    assert len(made) == 1


def test_differences_of_protocols():
    one = {'generated': {'ema': True, 'step': 3}, 'reference': {'count': 5}}
    assert compare.differences([one, {**one, 'generated': {'ema': True, 'step': 4}}]) == []
    guided = {
        **one['generated'],
        'guidance_scale': 2.5,
        'guidance_low': 0.0,
        'guidance_high': 0.0,
        'guidance_rescale': 0.0,
    }
    assert compare.differences([one, {**one, 'generated': guided}]) == []
    other = {'generated': {'ema': False, 'step': 4, 'classes': 'dog'}, 'reference': {'count': 6}}
    assert compare.differences([one, other]) == ['generated.classes', 'generated.ema', 'reference.count']


RESULTS = pathlib.Path(__file__).parents[3] / 'docs' / 'results'


def test_older_results_with_other_subsets_are_told_apart():
    """Results from before the random subset of precision and recall are read, and are not taken for today's."""
    old = json.loads((RESULTS / 'another_machine' / 'ddpm_cifar.json').read_text())  # against 50,000 images
    counts = [old['protocol'][part]['count'] for part in ('generated', 'reference')]
    today = {**old['protocol'], 'parameters': parameters(*counts)}
    assert compare.differences([old['protocol'], today]) == [compare.MANIFOLD_SUBSET]
    (note,) = compare.difference_notes([compare.MANIFOLD_SUBSET])
    assert 'precision and recall' in note and note.endswith('do not compare.')
    (sentence,) = compare.unused_results([old, old], today)
    assert f'has another protocol ({compare.MANIFOLD_SUBSET}), so they are evaluated again' in sentence
    assert compare.unused_results([old], old['protocol']) == []
    assert compare.unused_results([old], {**today, 'generated': {'seed': 1}}) == []
    named = {**old['protocol'], 'generated': {**old['protocol']['generated'], 'dtype': 'float32'}}
    (sentence,) = compare.unused_results([old], named)
    assert 'has another protocol (generated.dtype), so' in sentence
    small = json.loads((RESULTS / 'compare_cifar' / 'ddpm_seed_0.json').read_text())['protocol']  # 1,500 against 2,000
    assert compare.differences([small, {**small, 'parameters': parameters(1500, 2000)}]) == []


def test_all_other_differences_are_one_sentence():
    assert compare.difference_notes([]) == []
    assert compare.difference_notes(['a', 'b']) == ['The protocols differ in a, b: compare with care.']


def test_nearest_neighbours_by_brute_force():
    rng = np.random.default_rng(0)
    images, others = rng.integers(0, 256, (4, 5, 3, 2), np.uint8), rng.integers(0, 256, (7, 5, 3, 2), np.uint8)
    others[2] = images[1, :, ::-1]
    indices, distances = page.nearest(images, others)
    for image, index, distance in zip(images, indices, distances, strict=True):
        each = [min(np.linalg.norm(image / 255 - x / 255) for x in (other, other[:, ::-1])) for other in others]
        assert index == np.argmin(each)
        np.testing.assert_allclose(distance, min(each), atol=2e-3)
    assert indices[1] == 2


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'compare.workdirs': None}, 'config.compare.workdirs is not set'),
        ({'compare.workdirs': ('nowhere',)}, 'nowhere holds no trained model'),
        (
            {'sample.num_steps': 21, 'diffusion.timesteps': 50},
            'sample.num_steps=21 must be at most .*timesteps=20',
        ),
        ({'data.classes': ('3', '7')}, "trained with config.data.classes=None, and this comparison has \\('3', '7'\\)"),
    ],
)
def test_bad_input_is_one_sentence(workdirs, tmp_path, fields, words):
    with pytest.raises(UserError, match=words):
        modes.run('compare', tiny_config(**{**FIELDS, 'compare.workdirs': workdirs, **fields}), epath.Path(tmp_path))


def test_a_model_has_one_colour_in_all_charts():
    first, second = (colour.lower() for colour in plots.COLOURS[:2])
    alone = plots.by_class({'b': {'cat': 0.5}}, ('cat', 'dog'), 'seen', ['a', 'b'])
    both = plots.bars({'fid': [('a', 1.0, 0.0), ('b', 2.0, 0.0)]})
    assert second in alone and first not in alone
    assert second in both and first in both


def test_classes_take_turns_and_may_lack_images():
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    data = Dataset(images, np.array([3, 0, 3, 0, 3], np.int32), tuple('abcd'))
    assert compare._by_class(data).tolist() == [1, 0, 3, 2]


def test_a_few_step_model_keeps_its_own_sampler(tmp_path):
    edm = {'diffusion.schedule': 'edm', 'diffusion.parameterisation': 'edm', 'sample.sampler': 'dpmpp_2m'}
    few = {**edm, 'diffusion.parameterisation': 'consistency', 'sample.sampler': 'consistency', 'sample.num_steps': 2}
    folder = untrained(tiny_config(**few), epath.Path(tmp_path) / 'few')
    own = compare._config_of(folder, tiny_config(**edm, **{'sample.num_steps': 9, 'sample.batch_size': 8}))
    assert (own.sample.sampler, own.sample.num_steps, own.sample.batch_size) == ('consistency', 2, 8)
