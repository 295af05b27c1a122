"""The benchmark for GPUs, rehearsed on a CPU: its commands, what it does without a variant, and its time limit."""

import json
import pathlib
import subprocess
import sys

import pytest

from jaxgen.apps.benchmark import benchmark as benchmarking
from jaxgen.apps.benchmark import page, table
from jaxgen.apps.benchmark.processes import OUT_OF_TIME, Bench
from jaxgen.apps.benchmark.variants import COMMAND_BUFFERS, variants
from tests.tiny import LONG, tiny_config

ROOT = pathlib.Path(__file__).parents[3]
TINY = (
    '--config.benchmark.minutes=0 --config.data.name=digits --config.data.batch_size=4 --config.sample.batch_size=4 '
    '--config.model.base_channels=32'
)
SHALLOW = '--config=configs/ddpm_cifar.py --config.model.channel_multipliers=1,1 --config.model.num_res_blocks=1'


def planned(platform, **fields):
    facts = {'platform': platform, 'flops': {'train': 1.0, 'sample': 1.0}}
    return benchmarking.plan(tiny_config(**fields), facts)


def test_each_platform_has_the_variants_that_it_can_run():
    on_gpu = {v.name for v in planned('gpu')['train']}
    assert {'CUDA graph', 'CUDA graph bfloat16', 'bfloat16 in dispatches of 8'} <= on_gpu
    on_cpu = [
        v.name for of_case in planned('cpu', **{'benchmark.cases': ('train', 'attention')}).values() for v in of_case
    ]
    assert not any('CUDA' in name or 'command buffers' in name or 'tokens' in name for name in on_cpu)
    flags = [v.xla_flags for v in planned('gpu')['train'] if v.xla_flags]
    assert flags == [COMMAND_BUFFERS]


def test_variants_are_measured_in_the_order_in_which_they_are_named():
    asked = ('CUDA graph', 'bfloat16', 'float32')
    fields = {'benchmark.cases': ('train',), 'benchmark.variants': asked, 'benchmark.minutes': 3.0}
    plan = planned('gpu', **fields)
    assert [v.name for v in plan['train']] == [*asked]
    assert list(plan) == ['train', 'matmul']  # matrix products matter least when the time is limited


@LONG
def test_a_failed_variant_does_not_stop_the_others(tmp_path):
    names = ('256 tokens', '256 tokens by cuDNN')
    fields = {'benchmark.cases': ('attention',), 'benchmark.variants': names, 'data.batch_size': 1}
    config = tiny_config(**{'benchmark.rounds': 1, 'benchmark.seconds': 0, 'model.conditional': False, **fields})
    result = benchmarking.benchmark(config, tmp_path)
    rows = {(r['side'], r['name']): r for r in result['rows']['attention']}
    assert 'cuDNN' in rows['jaxgen', '256 tokens by cuDNN']['reason']
    for side in ('jaxgen', 'pytorch'):
        assert rows[side, '256 tokens']['images_per_sec'][0] > 0
    assert 'cuDNN' in table.markdown(json.loads((tmp_path / 'benchmark.json').read_text()))


def test_what_was_measured_is_written_after_each_variant(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(benchmarking, 'write_json', lambda path, made: written.append(json.dumps(made)))
    timed = {'seconds_per_unit': [1.0], 'images': 9, 'seconds_to_first': 1.0, 'peak_memory': 1}
    monkeypatch.setattr(Bench, 'run', lambda self, case, variant: dict(timed))
    facts = {
        'platform': 'cpu',
        'device': 'cpu',
        'devices': 1,
        'versions': {},
        'parameters': {},
        'flops': {'train': 1.0},
    }
    monkeypatch.setattr(Bench, 'describe', lambda self: facts)
    fields = {'benchmark.cases': ('train',), 'benchmark.variants': ('float32', 'eager'), 'benchmark.rounds': 2}
    benchmarking.benchmark(tiny_config(**fields), tmp_path)
    sizes = [sum(map(len, json.loads(text)['rows'].values())) for text in written]
    assert sizes == [1, 2, 3, 4, 4, 4, 4, 4]  # two products and two steps, twice


def test_a_later_round_that_fails_keeps_the_earlier_ones(tmp_path, monkeypatch):
    timed = {'seconds_per_unit': [1.0], 'images': 9, 'seconds_to_first': 1.0, 'peak_memory': 1}
    answers = iter([timed, {'failed': 'out of memory'}])
    monkeypatch.setattr(Bench, 'run', lambda self, case, variant: next(answers))
    facts = {
        'platform': 'tpu',
        'device': 'TPU',
        'devices': 1,
        'versions': {},
        'parameters': {},
        'flops': {'train': 1.0},
    }
    monkeypatch.setattr(Bench, 'describe', lambda self: facts)
    monkeypatch.setattr(
        benchmarking,
        'plan',
        lambda config, facts: {'train': [v for v in variants(8, 1)['train'] if v.name == 'float32']},
    )
    result = benchmarking.benchmark(tiny_config(**{'benchmark.rounds': 2}), tmp_path)
    (row,) = result['rows']['train']
    assert row['images_per_sec'] == [9.0, 9.0, 9.0]


@pytest.fixture(scope='module')
def rehearsed(tmp_path_factory):
    """Run the target of the Makefile with tiny models and no time to measure a variant."""
    folder = tmp_path_factory.mktemp('gpu')
    where = [
        f'GPU_PYTHON={sys.executable}',
        f'GPU_RUNS={folder}',
        f'GPU_PAGE={folder}/page.md',
        f'GPU_ARGS={TINY}',
        f'CIFAR={SHALLOW}',
    ]
    subprocess.run(['make', 'benchmark-gpu', *where], cwd=ROOT, check=True, capture_output=True)
    return folder


@LONG
def test_the_target_of_the_makefile_writes_its_page(rehearsed):
    text = (rehearsed / 'page.md').read_text()
    assert text.startswith('# Benchmarks against PyTorch') and '## UNet of' in text and '## DCGAN of' in text
    for name in ('train', 'sample', 'dcgan', 'features'):
        made = json.loads((rehearsed / f'benchmark_gpu_{name}.json').read_text())
        reasons = {row['reason'] for of_case in made['rows'].values() for row in of_case}
        assert reasons == {OUT_OF_TIME}


def test_the_readme_gets_the_table_between_its_marks():
    made = json.loads((ROOT / 'docs' / 'results' / 'benchmark_ddpm.json').read_text())
    readme = f'before\n{page.BEGIN}\nold\n{page.END}\nafter'
    text = page.in_readme(readme, [made])
    assert (
        text.startswith('before\n') and text.endswith('\nafter') and 'old' not in text and '| fastest / eager |' in text
    )
    with pytest.raises(ValueError, match='the README has no'):
        page.in_readme('nothing', [made])


def test_ratios_are_those_of_the_rates_in_the_report():
    rates = {
        ('jaxgen', 'float32'): 3,
        ('jaxgen', 'float32 with kept memory'): 6,
        ('pytorch', 'eager'): 2,
        ('pytorch', 'compiled'): 4,
    }
    rows = [
        {'side': side, 'name': name, 'precision': 'float32', 'images_per_sec': [n, 1, 9]}
        for (side, name), n in rates.items()
    ]
    report = {'config': {'family': 'dcgan'}, 'rows': {'train': rows, 'data': rows[1:3]}}
    assert page.summary([report]).splitlines()[2:] == [
        '| DCGAN, training step | 1.50 | 0.75 | 3.00 |',
        '| input pipeline | 3.00 |  | 3.00 |',
    ]


def test_the_repositorys_readme_has_the_marks():
    text = (ROOT / 'README.md').read_text()
    assert text.count(page.BEGIN) == text.count(page.END) == 1
