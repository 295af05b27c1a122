"""Runs in their own processes: killed at any moment and started again, they end like uninterrupted runs."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from etils import epath

from jaxgen import methods
from jaxgen.cli import modes
from jaxgen.errors import UserError
from tests.helpers.runs import WALL_CLOCK, final_state, without_wall_clock
from tests.tiny import LONG, WITHOUT_TENSORFLOW, tiny_config

ROOT = pathlib.Path(__file__).parents[2]
STEPS, LOG_EVERY = 120, 5

# The intervals of the log and of the checkpoints are no multiples of the three steps of a dispatch.
COMMON = {
    'train.steps': STEPS,
    'train.log_every': LOG_EVERY,
    'train.steps_per_dispatch': 3,
    'checkpoint.every': 20,
    'sample.every': None,
    'data.random_flip': True,
}
FIELDS = {
    'ddpm': {**COMMON, 'model.dropout': 0.1},
    'dcgan': {
        **COMMON,
        'gan.augment': ('translation', 'cutout'),
        'gan.diffusion_noise': True,
        'gan.diffusion_target': -0.9,
        'gan.diffusion_images': 5000,
        'gan.discriminator_steps': 2,
        'model.spectral_norm': True,
    },
    'r3gan': {**COMMON, 'gan.augment': ('translation',), 'gan.final_gamma': 0.01, 'gan.burn_in_steps': 60},
    'judge': {**COMMON, 'optimizer.decay_steps': STEPS},
}


def start(workdir, family):
    code = f'from tests.tiny import tiny_draft\ndef get_config(): return tiny_draft({family!r}, **{FIELDS[family]!r})\n'
    config = workdir.parent / 'tiny_run.py'
    config.write_text(code)
    command = [sys.executable, 'main.py', f'--config={config}', f'--workdir={workdir}']
    return subprocess.Popen(
        command, cwd=ROOT, env=WITHOUT_TENSORFLOW, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(workdir, family):
    process = start(workdir, family)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    return out


def rows(workdir):
    path = workdir / 'metrics.jsonl'
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_step(process, workdir, step):
    """Wait until the log reaches ``step``; fail if the process ends first."""
    while process.poll() is None:
        text = (workdir / 'metrics.jsonl').read_text() if (workdir / 'metrics.jsonl').exists() else ''
        if any(json.loads(line)['step'] >= step for line in text.split('\n')[:-1]):
            return
        time.sleep(0.005)
    raise AssertionError(process.communicate()[0])


@pytest.fixture(scope='module')
def references(tmp_path_factory):
    """Return the run directory of an uninterrupted run, by method; each is made when it is first needed."""

    class Finished(dict):
        def __missing__(self, family):
            self[family] = tmp_path_factory.mktemp(family) / 'run'
            finish(self[family], family)
            return self[family]

    return Finished()


def assert_same_run(workdir, references, family):
    config, reference = tiny_config(family, **FIELDS[family]), references[family]
    state, expected = final_state(config, workdir), final_state(config, reference)
    assert state.step == STEPS
    for (path, x), y in zip(jax.tree.leaves_with_path(state), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))
    assert without_wall_clock(rows(workdir)) == without_wall_clock(rows(reference))


def test_the_log_of_a_run(references):
    got = rows(references['ddpm'])
    assert [row['step'] for row in got] == [*(-(-s // 3) * 3 for s in range(LOG_EVERY, STEPS, LOG_EVERY)), STEPS]
    for row in got:
        assert {'step', 'loss', 'grad_norm', 'learning_rate', 'epoch', *WALL_CLOCK} <= set(row)
        assert 0 <= row['data_wait'] < 1
    assert got[-1]['loss'] < got[0]['loss']


@LONG
def test_the_log_of_the_other_families(references):
    judged = rows(references['judge'])
    assert all({'loss', 'accuracy', 'grad_norm', 'learning_rate'} <= set(row) for row in judged)
    assert judged[-1]['accuracy'] > judged[0]['accuracy']

    for row in rows(references['dcgan']):
        players = ('generator', 'discriminator')
        assert {f'{what}_{player}' for what in ('loss', 'grad_norm') for player in players} <= set(row)
        for share in ('accuracy_real', 'accuracy_fake', 'd_real', 'd_fake', 'd_fake_after'):
            assert 0 <= row[share] <= 1
    assert len({row['noise_timesteps'] for row in rows(references['dcgan'])}) > 10


def kill(workdir, family, step, delay):
    """Kill a run ``delay`` seconds after it has logged ``step``."""
    process = start(workdir, family)
    wait_for_step(process, workdir, step)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_killed_and_stopped_at_any_moment(references, tmp_path):
    """Each signal follows a logged step by a few milliseconds, so that some interrupt a save."""
    workdir = tmp_path / 'run'
    kill(workdir, 'ddpm', 20, 0.003)
    kill(workdir, 'ddpm', 50, 0.0)

    first = start(workdir, 'ddpm')
    wait_for_step(first, workdir, 80)
    first.send_signal(signal.SIGSTOP)  # so that it does not end while a second one starts
    with pytest.raises(UserError, match='another run is training in'):
        modes.run('train', tiny_config('ddpm', **FIELDS['ddpm']), epath.Path(workdir))
    first.send_signal(signal.SIGCONT)

    first.send_signal(signal.SIGTERM)
    out, _ = first.communicate()
    assert first.returncode == 143, out
    assert 'SIGTERM: stopping after this step' in out
    stopped = int(out.split('SIGTERM: step ')[1].split()[0])
    assert (workdir / 'checkpoints' / str(stopped)).is_dir() and 80 <= stopped < STEPS
    assert f'resuming at step {stopped}' in finish(workdir, 'ddpm')
    assert_same_run(workdir, references, 'ddpm')


@LONG
@pytest.mark.parametrize('family', [f for f in methods.METHODS if f != 'ddpm'])
def test_other_methods_are_killed_at_any_moment(references, tmp_path, family):
    workdir = tmp_path / 'run'
    kill(workdir, family, 50, 0.0)
    kill(workdir, family, 80, 0.02)
    assert 'resuming at step' in finish(workdir, family)
    assert_same_run(workdir, references, family)
