"""The flagship rehearsed with a tiny network and a budget of seconds: its steps, files, resumption and refusals."""

import json
import pathlib
import time

import jax
import numpy as np
import pytest
from etils import epath

from configs import ddpm_cifar
from jaxgen.apps.config import Config
from jaxgen.apps.flagship import flagship, packed, results
from jaxgen.apps.restore import restore
from jaxgen.apps.rules import validate
from jaxgen.apps.stored_config import read
from jaxgen.apps.untrained import build_method
from jaxgen.cli import flagship as command_line
from jaxgen.data import load
from jaxgen.errors import UserError
from jaxgen.metrics.sets.image_sets import open_set
from jaxgen.metrics.sets.npz_files import open_npz_files
from tests.tiny import tiny_config

LIMIT = 15e6  # bytes of a file that can be committed


def config_of(**fields):
    return tiny_config(
        **{
            'data.batch_size': 16,
            'train.resident_data': True,
            'train.steps_per_dispatch': 2,
            'optimizer.decay': 'cosine',
            'optimizer.warmup_steps': 1,
            'sample.every': None,
            'train.log_every': 2,
            'sample.num_steps': 2,
            **fields,
        }
    )


def budget(seconds, samples=20):
    return flagship.Budget(seconds / 60, time.monotonic(), measured_seconds=0.0, samples=samples)


@pytest.fixture(scope='module')
def digits():
    return load('digits', 'train')


@pytest.fixture(scope='module')
def trained(tmp_path_factory, digits):
    """Return the run directory of a flagship whose number of steps was set to 4 instead of measured."""
    workdir = epath.Path(tmp_path_factory.mktemp('flagship'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flagship, 'measure_rate', lambda config, dataset, seconds: (1.0, 4.5 / 99))
        patch.setattr(results, 'IMAGES_PER_FILE', 8)
        patch.setattr(flagship.Budget, 'seconds_left', 100.0)
        flagship.flagship(config_of(), workdir, digits, budget(100))
    return workdir


def test_the_steps_fill_the_budget_in_whole_dispatches(trained):
    report = json.loads((trained / 'flagship' / 'report.json').read_text())
    assert report['steps'] == 4 and report['images'] == 64
    assert report['device'] == 'cpu' and report['images_per_sec'] > 0
    rows = [json.loads(line) for line in (trained / 'metrics.jsonl').read_text().splitlines()]
    assert rows[-1]['learning_rate'] < rows[0]['learning_rate']  # the decay ends with the run


def test_the_samples_are_those_of_the_weights(trained):
    generated = trained / 'flagship' / 'generated'
    files = sorted(generated.glob('*.npz'))
    assert [len(np.load(f)['images']) for f in files] == [8, 8, 4]
    images, labels = open_npz_files(pathlib.Path(generated), 'field', tuple('0123456789'))
    model = restore(read(trained / 'config.json', ['evaluation']), trained)
    expected, expected_labels = model.sampler(0, 'evaluation')(model.model, 20)
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(labels, expected_labels)


def test_the_files_are_small_and_can_be_evaluated(trained):
    folder = trained / 'flagship'
    assert max(f.stat().st_size for f in pathlib.Path(folder).rglob('*')) < LIMIT
    assert (folder / 'loss.png').read_bytes().startswith(b'\x89PNG')
    judged = open_set(str(folder / 'generated'), 'field', class_names=tuple('0123456789'))
    assert judged.count == 20 and judged.labels is not None
    weights = folder / 'weights'
    assert restore(read(weights / 'config.json'), weights).step == 4


def test_a_second_call_keeps_the_steps_that_were_set(trained, digits, monkeypatch):
    monkeypatch.setattr(flagship, 'measure_rate', None)
    flagship.flagship(config_of(), trained, digits, budget(1))
    assert json.loads((trained / 'flagship' / 'report.json').read_text())['steps'] == 4


def test_the_rate_is_that_of_real_steps(digits):
    compile_seconds, rate = flagship.measure_rate(config_of(), digits, 0.0)
    assert compile_seconds > 0 and rate > 0


def test_a_budget_that_is_over_is_refused(digits, monkeypatch):
    monkeypatch.setattr(flagship, 'measure_rate', lambda config, dataset, seconds: (30.0, 5.0))
    with pytest.raises(UserError, match='too short: compiling took 30 s'):
        flagship.plan_steps(config_of(), digits, budget(20))


def test_a_packed_data_set_is_the_same(tmp_path, digits, monkeypatch):
    monkeypatch.setattr(packed, 'IMAGES_PER_FILE', 1000)
    packed.pack(digits, tmp_path)
    assert len(list(tmp_path.glob('*.npz'))) == 2
    again = packed.unpack(tmp_path, digits.class_names, (8, 8, 1))
    np.testing.assert_array_equal(again.images, digits.images)
    np.testing.assert_array_equal(again.labels, digits.labels)
    with pytest.raises(UserError, match='holds no .npz files'):
        packed.unpack(tmp_path / 'nothing', digits.class_names, (8, 8, 1))
    with pytest.raises(UserError, match='holds images of 8x8x1, and those of the config are 16x16x1'):
        packed.unpack(tmp_path, digits.class_names, (16, 16, 1))


def test_the_config_fits_its_limits():
    c = Config.from_tree(ddpm_cifar.get_config('flagship').to_dict(), command_line.SECTIONS)
    validate(c)
    method = build_method(c, (32, 32, 3), 10)
    shapes = jax.eval_shape(lambda: method.init(jax.random.key(0)).params)
    parameters = sum(x.size for x in jax.tree.leaves(shapes))
    assert parameters <= 9e6 and 2 * parameters < LIMIT
    assert f'``flagship`` ({parameters:,})' in ddpm_cifar.get_config.__doc__


def test_the_command_line_refuses_in_one_sentence(capsys):
    config = '--config=configs/ddpm_digits.py'
    sizes = ['--config.mesh.cpu_devices=None', '--config.sample.batch_size=8']
    assert command_line.main(['flagship', config, '--config.data.batch_size=0']) == 2
    assert 'config.data.batch_size=0 must be at least 1' in capsys.readouterr().err
    assert command_line.main(['flagship', config, '--minutes=-1']) == 2
    assert capsys.readouterr().err == 'jaxgen: --minutes=-1.0 must be at least 0\n'
    assert command_line.main(['flagship', config, *sizes, '--data=/no/folder']) == 2
    assert '--data=/no/folder holds no .npz files' in capsys.readouterr().err


def test_the_command_line_has_its_own_flags_and_those_of_all_commands():
    arguments, options = command_line.parse([])
    assert (arguments.config, arguments.workdir, arguments.fields) == (command_line.CONFIG, command_line.WORKDIR, ())
    assert (options.minutes, options.samples, options.data, options.pack) == (8.0, 20_000, None, None)
    given = ['--minutes=2.5', '--config.data.batch_size', '8', '--samples', '10', '--workdir=there', '--data=packed']
    arguments, options = command_line.parse(given)
    assert (arguments.workdir, arguments.fields) == ('there', (('data.batch_size', '8'),))
    assert (options.minutes, options.samples, options.data) == (2.5, 10, 'packed')


@pytest.mark.parametrize(
    ('argument', 'words'),
    [
        ('--minute=3', 'the flag --minute does not exist; did you mean --minutes?'),
        ('--minutes=nan', '--minutes=nan must be finite'),
        ('--minutes=inf', '--minutes=inf must be finite'),
        ('--minutes=1e30', '--minutes=1e+30 must be at most 100000'),
        ('--minutes=', '--minutes needs a value'),
        ('--samples=0', '--samples=0 must be at least 1'),
        (f'--samples={10**30}', 'is too large: it must be at most 100000000'),
        ('--samples=1.5', '--samples=1.5 must be a whole number'),
        ('--data=~nobody_here/x', "--data=~nobody_here/x: there is no user 'nobody_here' here"),
        ('--config.edit.num=3', '--config.edit.num has no effect with --mode=train'),
        ('--mode=sample', '--mode=sample is not one of the flagship: leave it out'),
    ],
)
def test_flags_that_are_refused(argument, words, capsys, tmp_path):
    assert command_line.main(['flagship', f'--workdir={tmp_path}/run', argument]) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) == 1 and not (tmp_path / 'run').exists()


def test_the_help_lists_its_flags(capsys):
    assert command_line.main(['flagship', '--help']) == 0
    said = capsys.readouterr().out
    assert '  --minutes=8.0\n' in said and '--workdir is runs/flagship if not given' in said


def test_the_data_set_is_packed_and_read_from_the_command_line(tmp_path):
    small = ['--config=configs/ddpm_digits.py', '--config.mesh.cpu_devices=None', f'--workdir={tmp_path}/run']
    assert command_line.main(['flagship', *small, f'--pack={tmp_path}/packed']) == 0
    assert [p.name for p in (tmp_path / 'packed').iterdir()] == ['00.npz'] and not (tmp_path / 'run').exists()
