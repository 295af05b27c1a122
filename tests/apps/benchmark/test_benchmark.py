"""The benchmark's processes, rows, ratios and refusals. No test looks at the times themselves."""

import json
import time

import numpy as np
import pytest

from jaxgen.apps.benchmark import benchmark as benchmarking
from jaxgen.apps.benchmark import jax_side, measure, table, torch_side
from jaxgen.apps.benchmark import report as reporting
from jaxgen.apps.benchmark.benchmark import benchmark, require_twin
from jaxgen.apps.benchmark.processes import Bench
from jaxgen.apps.benchmark.report import read_baseline, summarise
from jaxgen.apps.benchmark.variants import CASES, Variant, variants
from jaxgen.apps.twins import Execution
from jaxgen.errors import UserError
from tests.tiny import LONG, tiny_config

FACTS = {'platform': 'cpu', 'flops': {'train': 1.0, 'sample': 1.0}}


def config_of(family='ddpm', /, **fields):
    quick = {'benchmark.seconds': 0, 'benchmark.rounds': 1, 'model.conditional': False}
    return tiny_config(family, **{**quick, **fields})


def report(**rows):
    """Return a report with rows ``(side, name, precision, images/s)`` by case."""

    def row(side, name, precision, rate):
        rates = [rate, rate * 0.9, rate * 1.2]
        found = {'side': side, 'name': name, 'precision': precision, 'images_per_sec': rates, 'flops_per_sec': rates}
        return found | {'seconds_to_first': [3.0], 'peak_memory': 2**30}

    machine = {'device': 'abacus', 'cores': 2, 'versions': {'jax': '1'}, 'platform': 'cpu'}
    matmul = [row('jaxgen', 'float32', 'float32', 50.0), row('pytorch', 'float32', 'float32', 100.0)]
    for product in matmul:
        del product['images_per_sec']
    return {
        'machine': machine,
        'config': json.loads(json.dumps(config_of().to_tree())),
        'rows': {'matmul': matmul, **{case: [row(*r) for r in of_case] for case, of_case in rows.items()}},
        'notes': [],
    }


@LONG
def test_both_sides_run_in_their_own_processes(tmp_path):
    result = benchmark(config_of('dcgan', **{'benchmark.cases': ('data',)}), tmp_path)
    assert json.loads((tmp_path / 'benchmark.json').read_text()) == json.loads(json.dumps(result))
    rows = result['rows']['data']
    assert [(r['side'], r['name']) for r in rows] == [('jaxgen', 'in memory'), ('pytorch', 'DataLoader')]
    for row in (*rows, *result['rows']['matmul']):
        assert 'reason' not in row, row
        assert row['seconds_to_first'][0] > 0 and row['peak_memory'] > 2**20
    assert {'jax', 'torch'} <= set(result['machine']['versions'])
    text = table.markdown(result)
    assert '| pytorch DataLoader |' in text and 'input pipeline, float32: jaxgen' in text


@pytest.mark.parametrize('family', ['ddpm', 'dcgan', 'judge'])
def test_jaxgens_cases_do_their_units(family):
    config = tiny_config(family, **{'train.steps_per_dispatch': 2})
    for case in ('train', 'data') if family == 'judge' else ('train', 'sample', 'data'):
        subject = jax_side.CASES[case](config, {'start': time.perf_counter()})
        subject.run(2)
        assert subject.facts['images'] == (32 if case == 'train' else 16)


@pytest.mark.parametrize('flip', [True, False])
def test_both_input_pipelines_do_the_same_work(flip):
    """Both return float32 images in [-1, 1] and labels of the same examples, mirrored at random if training mirrors them."""
    config = config_of(**{'data.random_flip': flip, 'data.batch_size': 64})
    ours = jax_side.prepared_batches(config)
    theirs = torch_side.prepared_batches(
        config.to_tree(), {'image_shape': (8, 8, 1), 'num_classes': 10}, Execution('cpu'), workers=0
    )
    images, labels = measure.examples((8, 8, 1), 10)
    stored = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    batch, (seen, shown) = next(ours), next(theirs)
    ours.close()
    for got, classes in (
        (np.asarray(batch['image']), np.asarray(batch['label'])),
        (seen.permute(0, 2, 3, 1).numpy(), shown.numpy()),
    ):
        assert got.shape == (64, 8, 8, 1) and got.dtype == np.float32
        assert got.min() == -1 and got.max() == 1
        grey = np.round((got + 1) * 127.5).astype(np.uint8)
        known = [[stored.get(x.tobytes()) for x in (image, image[:, ::-1])] for image in grey]
        assert all(label in pair for label, pair in zip(classes, known, strict=True))
        assert any(straight is None for straight, _ in known) == flip


def test_another_model_is_no_twin():
    facts = {'parameters': {'unet': 5}, 'losses': {'loss': 1.0}}
    same = {'parameters': {'unet': 5}, 'losses': {'loss': 1.00001}}
    require_twin(same, facts, 'highest')
    with pytest.raises(UserError, match="the twin has {'unet': 6} parameters"):
        require_twin(same | {'parameters': {'unet': 6}}, facts, 'highest')
    with pytest.raises(UserError, match='loss of the first step is 1.001 in PyTorch and 1.0 in jaxgen'):
        require_twin(same | {'losses': {'loss': 1.001}}, facts, 'highest')


def test_without_pytorch_jaxgen_is_measured_alone(tmp_path, monkeypatch):
    (tmp_path / 'torch.py').write_text("raise ModuleNotFoundError('there is no torch', name='torch')\n")
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    config = config_of()
    bench = Bench(config, tmp_path)
    bench._facts = {'platform': 'cpu', 'image_shape': (8, 8, 1), 'num_classes': 10}
    found = bench.run('data', Variant('pytorch', 'DataLoader'))
    assert found == {'missing': 'torch'}
    assert summarise(Variant('pytorch', 'DataLoader'), [found], None)['reason'] == 'torch is not installed'


def test_a_failure_shows_the_last_line_of_its_output(tmp_path):
    bench = Bench(config_of(**{'benchmark.python': '/bin/false'}), tmp_path)
    bench._facts = {'platform': 'cpu', 'image_shape': (8, 8, 1), 'num_classes': 10}
    found = bench.run('data', Variant('pytorch', 'DataLoader'))
    assert found == {'failed': 'exit status 1'}
    bench = Bench(config_of(**{'benchmark.python': '/no/python'}), tmp_path)
    bench._facts = {'platform': 'cpu', 'image_shape': (8, 8, 1), 'num_classes': 10}
    with pytest.raises(UserError, match='config.benchmark.python=/no/python cannot be started'):
        bench.run('data', Variant('pytorch', 'DataLoader'))


def test_rows_are_medians_of_all_bursts():
    results = [
        {'seconds_per_unit': [1.0, 2.0, 4.0], 'images': 8, 'steps': 2, 'seconds_to_first': 9.0, 'peak_memory': 5},
        {'seconds_per_unit': [2.0, 2.0, 2.0], 'images': 8, 'steps': 2, 'seconds_to_first': 3.0, 'peak_memory': 7},
    ]
    row = summarise(Variant('jaxgen', 'float32'), results, flops=10.0)
    assert row['images_per_sec'] == [4.0, 2.0, 8.0]
    assert row['steps_per_sec'] == [1.0, 0.5, 2.0]
    assert row['flops_per_sec'] == [40.0, 20.0, 80.0]
    assert row['seconds_to_first'] == [9.0, 3.0] and row['peak_memory'] == 7


def test_the_best_of_one_precision_are_compared():
    of_train = [
        ('jaxgen', 'float32', 'float32', 10.0),
        ('jaxgen', 'float32 on 2 devices', 'float32', 12.0),
        ('jaxgen', 'bfloat16', 'bfloat16', 5.0),
        ('pytorch', 'eager', 'float32', 6.0),
        ('pytorch', 'compiled', 'float32', 8.0),
        ('pytorch', 'compiled bfloat16', 'bfloat16', 20.0),
    ]
    made = report(train=of_train)
    assert table.ratios(made) == {'train': {'float32': 1.5, 'bfloat16': 0.25}}
    text = table.markdown(made)
    assert "training step, float32: jaxgen's best is 1.50 times PyTorch's best" in text
    assert '| jaxgen float32 | 10 | 9 to 12 |' in text
    assert ' 10% |' in text  # share of the faster side's rate of matrix products
    assert table.chart(made).count('training step') == 1


def test_variants_of_a_case_have_different_names():
    found = variants(8, 2)
    assert tuple(found) == CASES
    for of_case in found.values():
        assert len({v.label for v in of_case}) == len(of_case)
    assert not any('devices' in v.name for vs in variants(8, 1).values() for v in vs)


def test_a_baseline_replaces_pytorch_where_it_has_no_backend(tmp_path):
    path = tmp_path / 'benchmark.json'
    path.write_text(json.dumps(report(train=[('pytorch', 'eager', 'float32', 6.0)])))
    config = config_of(**{'benchmark.cases': ('train',), 'benchmark.baseline': str(path)})
    baseline = read_baseline(str(path), config)
    plan = benchmarking.plan(config, FACTS | {'platform': 'tpu'})
    assert {v.side for vs in plan.values() for v in vs} == {'jaxgen'}
    timed = {'seconds_per_unit': [1.0], 'images': 9, 'seconds_to_first': 1.0, 'peak_memory': 1}
    found = {'train': [(Variant('jaxgen', 'float32'), [timed])]}
    facts = FACTS | {'platform': 'tpu', 'device': 'TPU v5e', 'devices': 4, 'versions': {}, 'parameters': {}}
    made = reporting.report(config, facts, found, baseline)
    assert made['notes'] == ['PyTorch was measured on abacus, jaxgen on TPU v5e']
    assert table.ratios(made)['train'] == {'float32': 1.5}
    made = reporting.report(config, facts, found, None)
    assert 'PyTorch has no backend for tpu' in made['notes'][0] and not table.ratios(made)


@pytest.mark.parametrize(
    ('content', 'fields', 'words'),
    [
        (None, {}, 'cannot be read'),
        ('{}', {}, 'is not a benchmark.json'),
        ('[1]', {}, 'is not a benchmark.json'),
        (
            report(train=[('jaxgen', 'float32', 'float32', 1.0)]) | {'rows': {'train': []}},
            {},
            'has no measurement of PyTorch',
        ),
        (
            report(train=[('pytorch', 'eager', 'float32', 6.0)]),
            {'data.batch_size': 32},
            'was measured with config.data.batch_size=16, and this is 32: pass --config.data.batch_size=16',
        ),
    ],
)
def test_another_baseline_is_refused(content, fields, words, tmp_path):
    path = tmp_path / 'benchmark.json'
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=words):
        read_baseline(str(path), config_of(**fields))


def test_variants_are_chosen_by_their_names():
    both = ['float32', 'bfloat16'] * 2
    facts = {'platform': 'cpu', 'flops': {'train': 1.0}}
    config = tiny_config(**{'benchmark.cases': ('train',), 'benchmark.variants': ('float32', 'eager')})
    planned = benchmarking.plan(config, facts)
    assert [v.label for v in planned['train']] == ['jaxgen float32', 'pytorch eager']
    assert [v.label for v in planned['matmul']] == ['jaxgen float32', 'pytorch float32']
    config = config.replace({'benchmark.variants': ('float32', 'bfloat16')})
    assert [v.precision for v in benchmarking.plan(config, facts)['matmul']] == both
    config = config.replace({'benchmark.cases': ('matmul',), 'benchmark.variants': ('float32',)})
    assert [v.precision for v in benchmarking.plan(config, facts)['matmul']] == both
    config = config.replace({'benchmark.cases': ('train',), 'benchmark.variants': ('eagre',)})
    with pytest.raises(UserError, match="'eagre' does not exist; did you mean eager"):
        benchmarking.plan(config, facts)
