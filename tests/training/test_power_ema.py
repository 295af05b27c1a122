"""Averages whose length is chosen after training, against sums over time written out, and in a run."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from safetensors.numpy import load_file, save_file

from jaxgen.apps.restore import restore
from jaxgen.cli import modes
from jaxgen.errors import UserError
from jaxgen.optim import power_ema
from jaxgen.training.snapshots import Snapshots
from tests.tiny import tiny_config

FIELDS = {'optimizer.ema_lengths': (0.05, 0.1), 'optimizer.ema_snapshot_every': 2, 'sample.every': None}


@pytest.mark.parametrize('length', (0.02, 0.1, 0.25))
def test_the_exponent_gives_the_length(length):
    t = (np.arange(200_000) + 0.5) / 200_000
    weights = t ** power_ema.exponent(length)
    weights /= weights.sum()
    mean = (weights * t).sum()
    np.testing.assert_allclose(np.sqrt((weights * (t - mean) ** 2).sum()), length, rtol=1e-4)


def walk(num):
    """Return a sequence of parameters ``[num, 5]`` that settles like the parameters of a run."""
    noise = np.random.RandomState(0).randn(num, 5)
    return np.cumsum(noise, 0) / 30 + np.exp(-np.arange(num) / 100)[:, None] + noise


def tracked(params, lengths):
    """Return each average after each update, ``[len(params), len(lengths), 5]``, by the function of the training step."""

    def step(averages, update):
        averages = power_ema.update(averages, *update, lengths)
        return averages, jnp.stack(averages)

    updates = jnp.asarray(params), jnp.arange(len(params))
    return np.asarray(jax.lax.scan(step, power_ema.start(jnp.zeros(5), lengths), updates)[1])


def test_an_average_weighs_the_past_by_a_power_of_time():
    params, length = walk(400), 0.1
    t, power = np.arange(401), power_ema.exponent(length) + 1
    weights = np.diff((t / 400) ** power)  # the recursion's products telescope to this
    np.testing.assert_allclose(tracked(params, (length,))[-1, 0], weights @ params, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('length', (0.03, 0.07, 0.15, 0.2))
def test_a_length_never_tracked_is_made_of_two_that_were(length):
    params, stored = walk(600), (0.05, 0.1)
    snapshots = tracked(params, stored)[29::30]
    steps, lengths = np.arange(30.0, 601, 30).repeat(2), np.array(stored * 20)
    made = power_ema.coefficients(steps, lengths, 600.0, length) @ snapshots.reshape(40, 5)
    wanted = tracked(params, (length,))[-1, 0]
    nearest = snapshots[-1, np.argmin(np.abs(np.array(stored) - length))]
    error = np.linalg.norm(made - wanted)
    assert error < 0.15 * np.linalg.norm(nearest - wanted), (error, np.linalg.norm(nearest - wanted))


@pytest.mark.parametrize('index', range(2))
def test_a_stored_average_is_made_again(index):
    steps, lengths = np.array([10.0, 10, 20, 20]), np.array([0.05, 0.1] * 2)
    found = power_ema.coefficients(steps, lengths, 20.0, (0.05, 0.1)[index])
    np.testing.assert_allclose(found, np.eye(4)[2 + index], atol=1e-6)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    workdir = epath.Path(tmp_path_factory.mktemp('run'))
    modes.run('train', tiny_config(**FIELDS), workdir)
    return workdir


def test_a_run_samples_with_an_average_of_its_snapshots(run):
    stored = sorted(int(path.stem) for path in (run / 'ema').iterdir())
    assert stored == [2, 4, 6, 8, 10, 12]
    assert {x.dtype for x in load_file(run / 'ema' / '12.safetensors').values()} == {np.dtype(np.float16)}
    trained = restore(tiny_config(**FIELDS), run)
    for length, tracked_average in zip((0.05, 0.1), trained.model.averages, strict=True):
        chosen = restore(tiny_config(**{**FIELDS, 'sample.ema_length': length}), run).model.ema
        for name in ('conv_in', 'conv_out'):
            wanted = np.asarray(tracked_average[name]['kernel'])
            np.testing.assert_allclose(chosen[name]['kernel'], wanted, rtol=2e-3, atol=1e-6)  # float16 on disk
            assert not np.allclose(trained.model.ema[name]['kernel'], wanted, rtol=2e-3, atol=1e-6)


def test_later_snapshots_are_not_part_of_an_earlier_step(run):
    snapshots = Snapshots(run)
    assert snapshots.steps(until=7) == [2, 4, 6]
    early = snapshots.average(0.1, 7)['conv_in']['kernel']
    np.testing.assert_allclose(
        early, load_file(run / 'ema' / '6.safetensors')['0.1/conv_in/kernel'], rtol=2e-3, atol=1e-6
    )


def test_every_length_is_evaluated_with_the_same_seeds(run, monkeypatch, tmp_path):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path))
    fields = {'evaluation.ema_lengths': (0.2, 0, 0.1), 'evaluation.num': 100, 'evaluation.extractor': 'judge'}
    modes.run('evaluate', tiny_config(**{**FIELDS, **fields}), run)
    found = json.loads((run / 'evaluation' / '12_ema_lengths.json').read_text())
    assert [row['ema_length'] for row in found] == [0, 0.1, 0.2]
    assert len({row['fid'] for row in found}) == 3
    assert len({row['protocol']['generated']['weights'] for row in found}) == 3
    assert len({row['protocol']['generated']['seed'] for row in found}) == 1
    assert [row['protocol']['generated'].get('ema_length') for row in found] == [None, 0.1, 0.2]
    assert (run / 'evaluation' / '12_ema_lengths.png').read_bytes().startswith(b'\x89PNG')


def test_a_run_without_snapshots_has_one_average(tmp_path):
    with pytest.raises(UserError, match=r'holds no snapshot.*ema_lengths'):
        Snapshots(epath.Path(tmp_path)).average(0.1, 100)


def test_a_damaged_snapshot_is_named(tmp_path):
    save_file({'0.1/w': np.zeros(3, np.float16)}, tmp_path / 'one')
    (tmp_path / 'ema').mkdir()
    (tmp_path / 'ema' / '5.safetensors').write_bytes((tmp_path / 'one').read_bytes()[:-3])
    with pytest.raises(UserError, match=r'ema/5.safetensors is damaged'):
        Snapshots(epath.Path(tmp_path)).average(0.1, 100)


@pytest.mark.parametrize(
    ('fields', 'sentence'),
    [
        ({'optimizer.ema_lengths': (0.05,)}, 'config.optimizer.ema_lengths=.* two or more'),
        ({'optimizer.ema_lengths': (0.05, 0.05)}, 'config.optimizer.ema_lengths=.* two or more'),
        (
            {'optimizer.ema_lengths': (0.05, 0.3)},
            'config.optimizer.ema_lengths=0.05,0.3: each value must be at most 0.28',
        ),
        ({'optimizer.ema_lengths': (0.0, 0.1)}, 'config.optimizer.ema_lengths=0.0,0.1: each value must be above 0'),
        ({'optimizer.ema_lengths': ('a', 'b')}, 'config.optimizer.ema_lengths=a,b must be numbers'),
        ({'optimizer.ema_lengths': ()}, 'config.optimizer.ema_lengths is empty.*: leave it out, or set it to None'),
        ({'sample.ema_length': 0.3}, 'config.sample.ema_length=0.3 must be at most 0.28'),
        (
            {'sample.ema_length': 0.0},
            'config.sample.ema_length=0.0 must be above 0; for none, leave it out or set it to None',
        ),
        ({'sample.ema_length': 0.1, 'optimizer.ema_lengths': None}, 'config.sample.ema_length needs the snapshots'),
        ({'sample.ema_length': 0.1, 'sample.ema': False}, 'config.sample.ema_length=0.1 needs ema=True'),
        (
            {'evaluation.ema_lengths': (0.1, 0.2), 'evaluation.metrics': ('fid_per_class',)},
            'config.evaluation.metrics=.*fid',
        ),
    ],
)
def test_impossible_lengths_are_refused(fields, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        modes.run('sample', tiny_config(**{**FIELDS, **fields}), epath.Path(tmp_path))
