"""``--mode=sweep``: what is planned and refused, killed and started again, runs that diverge or fail, what won."""

import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from etils import epath

from jaxgen.apps.config import Config
from jaxgen.apps.reports import words
from jaxgen.apps.sweep import plan, report, results, runs, worker
from jaxgen.cli import modes
from jaxgen.errors import UserError
from jaxgen.io import images
from jaxgen.metrics.evaluator import Evaluator
from tests.helpers.html_page import Page
from tests.tiny import LONG, WITHOUT_TENSORFLOW, tiny_config

ROOT = pathlib.Path(__file__).parents[3]
# The first two compile to the same programs.
FIELDS = {
    'sweep.settings': 'max_examples=500 | max_examples=1000 | max_examples=500,learning_rate=4e9',
    'sweep.images': 1280,
    'train.log_every': 2,
    'checkpoint.every': 20,
    'sample.every': None,
    'evaluation.num': 60,
    'evaluation.metrics': ('fid', 'kid'),
    'evaluation.extractor': 'judge',
    'mesh.cpu_devices': 8,
}
WALL_CLOCK = {'steps_per_sec', 'images_per_sec', 'data_wait'}


NAMES = [
    f'max_examples={n}-learning_rate={rate}-seed0' for n, rate in ((500, 0.0002), (1000, 0.0002), (500, '4000000000.0'))
]


def sweep_config(family='ddpm', /, **fields):
    return tiny_config(family, **{**FIELDS, **fields})


def here(spec):
    """A run of the sweep in this process."""
    return worker.work(json.loads(json.dumps(spec)))


def unclocked(path):
    """A JSON file, without what differs from day to day."""

    def kept(tree):
        if isinstance(tree, dict):
            return {name: kept(value) for name, value in tree.items() if name not in WALL_CLOCK}
        return [kept(value) for value in tree] if isinstance(tree, list) else tree

    return kept(json.loads(path.read_text()))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path_factory.getbasetemp() / 'cache'))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The workdir of a sweep that nothing stopped."""
    workdir = epath.Path(tmp_path_factory.mktemp('whole'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('JAXGEN_CACHE_DIR', str(tmp_path_factory.getbasetemp() / 'cache'))
        patch.setattr(runs, 'in_a_process', here)
        modes.run('sweep', sweep_config('dcgan'), workdir)
    return workdir / 'sweep'


def start(workdir):
    config = workdir.parent / 'tiny_sweep.py'
    config.write_text(
        f'from tests.tiny import tiny_draft\ndef get_config(): return tiny_draft("dcgan", **{FIELDS!r})\n'
    )
    command = [sys.executable, 'main.py', f'--config={config}', f'--workdir={workdir}', '--mode=sweep']
    # The features in the cache of a user may come from a program that rounded otherwise.
    env = WITHOUT_TENSORFLOW | {'JAXGEN_CACHE_DIR': os.environ['JAXGEN_CACHE_DIR']}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows(run):
    log = run / 'metrics.jsonl'
    return log.read_text().count('\n') if log.exists() else 0


def wait_for_rows(process, run, count):
    while process.poll() is None:
        if rows(run) >= count:
            return
        time.sleep(0.01)
    raise AssertionError(process.communicate())


def wait_for_its_end(run):
    """Until no process trains there."""
    with open(run / '.lock') as file:
        for _ in range(600):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(0.1)
    raise AssertionError('the run of a sweep that was killed trains on')


@LONG
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_stopped_and_started_again(whole, tmp_path, number):
    sweep = tmp_path / 'run' / 'sweep'
    first, second = (sweep / name for name in NAMES[:2])
    for name in (NAMES[0], NAMES[2]):  # runs that another sweep has made
        shutil.copytree(whole / name, sweep / name)
    before = {path: path.stat().st_mtime_ns for path in first.rglob('*')}

    stopped = start(sweep.parent)
    wait_for_rows(stopped, second, 4)
    stopped.send_signal(number)
    out, err = stopped.communicate()
    assert 'runs: 3, of which done: 2, steps of a run: 80' in out, err
    if number == signal.SIGTERM:
        assert stopped.returncode == 143 and 'SIGTERM: step' in out, (out, err)
    wait_for_its_end(second)
    assert not (second / plan.RESULTS).exists() and not (sweep / 'report.html').exists()

    last = start(sweep.parent)
    out, err = last.communicate()
    assert last.returncode == 0, err
    assert 'resuming at step' in out and first.name not in out
    assert before == {path: path.stat().st_mtime_ns for path in first.rglob('*')}
    assert unclocked(sweep / 'results.json') == unclocked(whole / 'results.json')
    assert 'learning_rate=4000000000.0  ' in out and '1 of 1 diverged: the loss is not finite at step' in out
    assert 'One seed: the margin may be noise' in out and f'{sweep}/report.html' in out


def test_what_a_sweep_leaves(whole):
    assert {p.name for p in whole.iterdir()} == {*NAMES, 'results.json', 'report.html', '.lock'}
    folder = whole / NAMES[1]
    assert {'config.json', 'checkpoints', 'metrics.jsonl', 'samples', 'evaluation'} <= {
        p.name for p in folder.iterdir()
    }
    stored = json.loads((folder / 'config.json').read_text())
    assert (
        stored['train']['steps'] == 80
        and stored['data']['max_examples'] == 1000
        and stored['sweep']['settings'] is None
    )
    found = json.loads((whole / 'results.json').read_text())
    assert [[run['state'] for run in row['runs']] for row in found['settings']] == [
        ['finished'], ['finished'], ['diverged'],
    ]  # fmt: skip
    assert found['settings'][0]['runs'][0]['figures']['kid'] == found['settings'][0]['mean']
    page = Page((whole / 'report.html').read_text())
    assert not page.open and 'script' not in page.tags
    assert all(address.startswith(('data:', '#')) for address in page.addresses)
    for shown in ('won: KID', '1 of 1 diverged', 'Heat maps', 'Training', 'Samples', 'images/s', 'discriminator '):
        assert shown in page.text, shown
    assert page.tags.count('img') == 2 and page.tags.count('svg') == 3


def test_settings_that_only_draw_in_other_ways_share_a_model(tmp_path, monkeypatch):
    trained = []

    def counted(config, workdir):
        trained.append(workdir.name)
        real(config, workdir)

    real = worker.training.train
    monkeypatch.setattr(runs, 'in_a_process', here)
    monkeypatch.setattr(worker.training, 'train', counted)
    fields = {'sweep.images': None, 'train.steps': 4, 'checkpoint.every': 4}
    found = runs.sweep(sweep_config('dcgan', **fields, **{'sweep.settings': 'ema:True,False'}), epath.Path(tmp_path))
    assert trained == ['seed0']
    judged = tmp_path / 'sweep' / 'seed0' / plan.RESULTS
    assert sorted(p.name for p in judged.iterdir()) == ['4-ema=False.json', '4-ema=True.json']
    assert [row.outcomes[0].found['protocol']['generated']['ema'] for row in found.settings] == [True, False]
    assert 'Chart' in Page(report.page(found)).text

    again = runs.sweep(sweep_config('dcgan', **fields, **{'sweep.settings': 'ema:False,True'}), epath.Path(tmp_path))
    assert trained == ['seed0'] and results.as_json(again)['settings'] == results.as_json(found)['settings'][::-1]


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'sweep.settings': None}, 'config.sweep.settings names no field'),
        ({'sweep.settings': 'timestep:5'}, "the field 'timestep' does not exist; did you mean timesteps"),
        ({'sweep.settings': 'timesteps:20,2'}, 'the setting timesteps=2: config.sample.num_steps=4 must be at most'),
        ({'sweep.settings': 'width:8,16,7'}, 'the setting base_channels=7: config.model.base_channels=7 must be even'),
        (
            {'sweep.settings': 'data.batch_size:0'},
            "'0' is not a value of config.data.batch_size: batch_size=0 must be at least 1",
        ),
        ({'sweep.settings': 'steps:4,8'}, 'config.train.steps cannot be swept together with config.sweep.images'),
        (
            {'sweep.metric': 'recall'},
            'config.sweep.metric=recall is computed by precision_recall: add precision_recall to',
        ),
        ({'sweep.metric': 'coverage'}, 'config.sweep.metric=coverage is computed by density_coverage: add'),
        ({'sweep.metric': 'fdi'}, "config.sweep.metric 'fdi' does not exist; did you mean fid"),
        ({'sweep.metric': 'judge.accuracy', 'model.conditional': False}, 'set model.conditional=True'),
        ({'sweep.seeds': 0}, 'config.sweep.seeds=0 must be at least 1'),
        ({'evaluation.generated': 'digits:test'}, 'config.evaluation.generated=digits:test must be unset'),
        ({'mesh.distributed': True}, 'config.mesh.distributed=True must be False'),
        ({'seed': 2**32 - 1, 'sweep.seeds': 2}, 'config.seed=4294967296 is too large: it must be at most 4294967295'),
    ],
)
def test_refused_before_the_first_run(fields, words, tmp_path):
    with pytest.raises(UserError, match=words):
        modes.run('sweep', sweep_config(**fields), epath.Path(tmp_path) / 'run')
    assert not (tmp_path / 'run').exists()


def test_the_features_of_the_reference_are_computed_before_the_first_run(monkeypatch):
    computed = []
    monkeypatch.setattr(Evaluator, 'reference_features', lambda self: computed.append(self))
    worker.check_devices([('first', sweep_config()), ('second', sweep_config())])
    assert len(computed) == 1


def test_a_setting_may_make_work_what_does_not_by_itself(tmp_path, monkeypatch):
    def planned(config, workdir):
        raise UserError(f'{len(plan.plan(config).runs)} runs are planned')

    monkeypatch.setattr('jaxgen.apps.sweep.run.sweep', planned)
    config = sweep_config(**{'diffusion.schedule': 'edm', 'sweep.settings': 'schedule:linear,cosine'})
    with pytest.raises(UserError, match='with diffusion.schedule=edm'):
        modes.run('data', config, epath.Path(tmp_path))
    with pytest.raises(UserError, match='2 runs are planned'):
        modes.run('sweep', config, epath.Path(tmp_path))
    config = config.replace({'sweep.settings': 'schedule:linear,edm'})
    with pytest.raises(UserError, match='the setting schedule=edm: config.diffusion'):
        modes.run('sweep', config, epath.Path(tmp_path))


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        (
            {'sweep.settings': 'data.batch_size:16,12'},
            'the setting data.batch_size=12: .* does not divide over 8 devices',
        ),
        ({'data.name': 'cifar10', 'sweep.metric': 'judge.accuracy'}, 'is not a file'),
    ],
)
def test_refused_by_devices_and_data(fields, words, tmp_path, monkeypatch):
    specs = []

    def noted(spec):
        specs.append(spec['task'])
        return here(spec)

    monkeypatch.setattr(runs, 'in_a_process', noted)
    with pytest.raises(UserError, match=words):
        modes.run('sweep', sweep_config(**{'evaluation.judge': 'nowhere', **fields}), epath.Path(tmp_path))
    assert specs == ['check']


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'model.latent_size': 9}, 'config.model.latent_size is 9, but the checkpoint in .*seed0 was made with 6'),
        ({'sweep.images': 640}, 'seed0 is at step 80, beyond the 40 steps of this sweep: raise config.sweep.images'),
    ],
)
def test_a_folder_of_another_run_is_refused(whole, fields, words):
    before = (whole / 'results.json').read_text()
    with pytest.raises(UserError, match=words):
        modes.run('sweep', sweep_config('dcgan', **fields), whole.parent)
    assert (whole / 'results.json').read_text() == before


def pretend(spec, kid, log=()):
    """Leaves what a run leaves whose images have this KID, by setting and seed."""
    if spec['task'] == 'check':
        return {}
    config = spec['samplers'][0][1]
    at = config['model']['base_channels'], config['diffusion']['timesteps'], spec['seed']
    sampler = plan.SamplerConfig('', Config.from_tree(config, plan.SECTIONS))
    workdir = epath.Path(spec['folder']) / plan.Run(spec['name'], spec['seed'], [sampler]).folder
    value = kid(*at)
    if isinstance(value, str):
        return {'failed': value}
    (workdir / 'samples').mkdir(parents=True)
    picture = images.png(np.zeros((4, 4, 1), np.uint8))
    (workdir / 'samples' / f'sweep-{sampler.stem}.png').write_bytes(picture)
    rows = [{'step': s, 'loss': 1 / s, 'images_per_sec': 100.0} for s in (1, 2)]
    (workdir / 'metrics.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    protocol = {'generated': {'count': 60}, 'extractor': {'name': 'judge-digits'}}
    found = {'kid': value, 'config': config, 'parameters': {'unet': at[0]}, 'protocol': protocol, 'warnings': []}
    (workdir / plan.RESULTS).mkdir(parents=True)
    (workdir / plan.RESULTS / f'{sampler.stem}.json').write_text(json.dumps(found))
    return {}


def test_what_won_by_how_much(tmp_path, monkeypatch):
    """Means 0.2 + 10 / width + timesteps / 1000, deviation 0.1 * sqrt(2) over two seeds."""
    monkeypatch.setattr(
        runs, 'in_a_process', lambda spec: pretend(spec, lambda w, t, seed: 0.1 + 10 / w + t / 1000 + 0.2 * seed)
    )
    config = sweep_config(**{'sweep.settings': 'width:8,16;timesteps:50,20', 'sweep.seeds': 2})
    found = runs.sweep(config, epath.Path(tmp_path))
    assert [row.name for row in results.ranked(found)] == [
        f'base_channels={w}, timesteps={t}' for w, t in ((16, 20), (16, 50), (8, 20), (8, 50))
    ]
    text = results.verdict(found)
    assert text.startswith(
        'base_channels=16, timesteps=20 won: KID of classifier features 0.845 ± 0.14. The second, base_channels=16, '
    )
    assert '0.875 ± 0.14: a margin of 0.03 (3.4%), or 0.2 standard deviations over the 2 seeds' in text
    assert 'ahead with 2 of 2 seeds. Within so few deviations it may be noise' in text
    assert text in report.lines(found)
    page = Page(report.page(found))
    assert 'Heat maps' in page.text and 'Chart' not in page.text and page.tags.count('img') == 4
    np.testing.assert_allclose(
        report._means(found, *found.plan.labels, {f: [s, t] for f, s, t in _values(found)}),
        [[1.5, 1.47], [0.875, 0.845]],
    )


def _values(found):
    return [(field, *dict.fromkeys(row.setting[field] for row in found.settings)) for field in found.plan.labels]


def test_higher_may_be_better_and_a_seed_that_fails_ends_nothing(tmp_path, monkeypatch):
    broken = ['out of memory']
    monkeypatch.setattr(
        runs, 'in_a_process', lambda spec: pretend(spec, lambda w, *rest: broken[0] if w == 16 and broken else w)
    )
    config = sweep_config(**{'sweep.settings': 'width=8 | width=16,timesteps=50 | width=24'})
    with pytest.raises(
        UserError, match='these runs failed: timesteps=50-base_channels=16-seed0; the same command tries'
    ):
        modes.run('sweep', config, epath.Path(tmp_path))
    found = json.loads((tmp_path / 'sweep/results.json').read_text())
    assert [row['runs'][0]['state'] for row in found['settings']] == ['finished', 'failed', 'finished']
    assert found['verdict'].startswith(
        'base_channels=8, timesteps=20 won: KID of classifier features 8. The second, base_channels=24'
    )
    page = Page((tmp_path / 'sweep/report.html').read_text())
    assert '1 of 1 failed: out of memory' in page.text and 'A blank cell has no finished run' in page.text

    broken.clear()
    modes.run('sweep', config, epath.Path(tmp_path))
    again = results.collect(plan.plan(config), epath.Path(tmp_path) / 'sweep', {})
    assert len(results.ranked(again)) == 3
    monkeypatch.setitem(words.METRICS, 'kid', words.Metric('KID', 'higher'))
    assert results.ranked(again)[0].name.startswith('base_channels=24')


def test_a_process_that_ends_without_a_word(tmp_path, monkeypatch):
    for script, reason in (('exit 7', 'its process ended with 7'), ('kill -9 $$', 'was killed by SIGKILL')):
        python = tmp_path / 'python'
        python.write_text(f'#!/bin/sh\n{script}\n')
        python.chmod(0o755)
        monkeypatch.setattr(sys, 'executable', str(python))
        assert reason in runs.in_a_process({'task': 'check'})['failed']


def test_a_reason_that_all_runs_share_ends_the_sweep(tmp_path, monkeypatch):
    ended = iter([{}, {'refused': 'a file: No space left on device; fix that and run the same command again'}])
    monkeypatch.setattr(runs, 'in_a_process', lambda spec: next(ended))
    with pytest.raises(UserError, match='learning_rate=0.0002-seed0: a file: No space left on device; fix that'):
        modes.run('sweep', sweep_config(), epath.Path(tmp_path))
