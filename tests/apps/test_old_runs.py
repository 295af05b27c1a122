"""Run directories and weights of an earlier jaxgen: they are read, give the same images, and are trained on.

tests/old_runs has one run directory of each kind, with the images that were sampled from it then (samples/*.npz), and in
resumed.json the row of metrics.jsonl that one more step added. They are files of users: no change of names may make them again.
"""

import json
import pathlib
import shutil
import signal
import sys

import numpy as np
import pytest
from absl.testing import flagsaver

from jaxgen.cli.main import main
from tests.helpers.old_runs import RESUMED, RUNS, assert_same_images

ROOT = pathlib.Path(__file__).parents[2]
SAMPLED = {
    ('ddpm', 'samples'): [],
    ('ddpm', 'ema_length'): ['--config.sample.ema_length=0.08'],
    ('ddpm', 'adapter'): [
        '--config.sample.adapter=tests/old_runs/finetuned/adapter.safetensors',
        '--config.sample.classes=3,8',
    ],
    ('dcgan', 'samples'): [],
    ('finetuned', 'samples'): [],
    ('imported', 'samples'): [],
    ('exported', 'samples'): [],
}


@pytest.fixture
def command_line(monkeypatch, capsys):
    """Return a function that runs a command line in the root of the repository, where the stored paths begin."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(sys.modules, 'tensorflow', None)  # no events for TensorBoard: it takes seconds to import
    on_sigterm = signal.getsignal(signal.SIGTERM)

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['jaxgen', *args])  # the flag of the config reads the fields from there
        with flagsaver.flagsaver():
            code = main(sys.argv)
        assert code == 0, capsys.readouterr()

    yield run
    signal.signal(signal.SIGTERM, on_sigterm)


@pytest.mark.parametrize(('kind', 'name'), SAMPLED)
def test_old_runs_give_the_same_images(kind, name, command_line, tmp_path):
    run = shutil.copytree(RUNS / kind, tmp_path / kind, ignore=shutil.ignore_patterns('samples'))
    command_line(f'--config={run}/config.json', '--mode=sample', f'--config.sample.name={name}', *SAMPLED[kind, name])
    with np.load(run / 'samples' / f'{name}.npz') as made, np.load(RUNS / kind / 'samples' / f'{name}.npz') as recorded:
        assert set(made) == set(recorded)
        assert_same_images(made['images'], recorded['images'])
        np.testing.assert_array_equal(made['labels'], recorded['labels'])
        np.testing.assert_array_equal(made['class_names'], recorded['class_names'])


@pytest.mark.parametrize('kind', RESUMED['rows'])
def test_old_runs_are_trained_on(kind, command_line, tmp_path):
    expected = RESUMED['rows'][kind]
    run = shutil.copytree(RUNS / kind, tmp_path / kind)
    mode = 'finetune' if kind == 'finetuned' else 'train'
    command_line(f'--config={run}/config.json', f'--mode={mode}', f'--config.train.steps={expected["step"]}')
    *before, last = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    stored = RUNS / kind / 'metrics.jsonl'
    assert before == ([json.loads(line) for line in stored.read_text().splitlines()] if stored.exists() else [])
    assert {name: last[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_every_old_run_is_tested():
    kinds = {path.name for path in RUNS.iterdir() if path.is_dir()}
    assert kinds == {kind for kind, _ in SAMPLED} | RESUMED['rows'].keys()
