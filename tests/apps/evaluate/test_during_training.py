"""Evaluations in training: at their steps, the best checkpoint kept, the same after a kill, broken off by a signal."""

import json
import os
import signal

import numpy as np
import pytest
from etils import epath

from jaxgen.apps.evaluate import during_training
from jaxgen.apps.restore import restore
from jaxgen.cli import modes
from jaxgen.errors import UserError
from jaxgen.metrics.evaluator import Evaluator
from tests.helpers.runs import train
from tests.tiny import tiny_config

FIELDS = {'evaluation.every': 4, 'evaluation.num': 100, 'evaluation.extractor': 'judge', 'sample.every': None}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path_factory.getbasetemp() / 'cache'))


def test_the_best_step_is_kept_also_over_a_resumption(tmp_path):
    whole, parts = (epath.Path(tmp_path) / name for name in ('whole', 'parts'))
    modes.run('train', tiny_config('dcgan', **FIELDS), whole)
    for steps in (8, 12):
        modes.run('train', tiny_config('dcgan', **{**FIELDS, 'train.steps': steps}), parts)
    figures = [
        [(row['step'], row['fid'], row['kid']) for row in during_training.read(workdir)] for workdir in (whole, parts)
    ]
    assert figures[0] == figures[1] and [step for step, *_ in figures[0]] == [4, 8, 12]
    best = min(figures[0], key=lambda row: row[1])[0]
    for workdir in (whole, parts):
        trained = restore(tiny_config('dcgan', **{'checkpoint.restore': 'best'}), workdir)
        assert trained.step == best
        newest = restore(tiny_config('dcgan'), workdir)
        assert newest.step == 12


def test_the_features_of_the_reference_are_computed_before_training(tmp_path, monkeypatch):
    def computed(evaluator):
        raise UserError('computing them')

    monkeypatch.setattr(Evaluator, 'reference_features', computed)
    with pytest.raises(UserError, match='computing them'):
        modes.run('train', tiny_config('dcgan', **FIELDS), epath.Path(tmp_path) / 'run')
    assert not (tmp_path / 'run').exists()


class Scripted:
    """An evaluation every four steps that returns metrics from a list; it sends SIGTERM while it evaluates ``stop_at``."""

    every = 4

    def __init__(self, fids, stop_at=None):
        self.fids, self.stop_at, self.judged = fids, stop_at, []

    def has(self, step):
        return step in self.judged

    def __call__(self, pipeline, model, step, tick):
        tick()
        if step == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
            tick()
        self.judged.append(step)
        return {'fid': self.fids[step]}, self.fids[step] <= min(self.fids[s] for s in self.judged)


def test_a_signal_breaks_an_evaluation_off_and_it_is_made_first_thing_after(tmp_path):
    workdir, scripted = epath.Path(tmp_path) / 'run', Scripted({4: 3.0, 8: 1.0, 12: 2.0}, stop_at=8)
    with pytest.raises(SystemExit) as e:
        train(tiny_config('dcgan', **FIELDS), workdir, scripted)
    assert e.value.code == 143 and scripted.judged == [4]
    scripted.stop_at = None
    train(tiny_config('dcgan', **FIELDS), workdir, scripted)
    assert scripted.judged == [4, 8, 12]
    scripted.judged.pop()  # as if the last one had been broken off
    scripted.stop_at = 12
    with pytest.raises(SystemExit) as e:  # before the first step of this start
        train(tiny_config('dcgan', **FIELDS), workdir, scripted)
    assert e.value.code == 143 and scripted.judged == [4, 8]
    scripted.stop_at = None
    train(tiny_config('dcgan', **FIELDS), workdir, scripted)
    assert scripted.judged == [4, 8, 12]
    assert restore(tiny_config('dcgan', **{'checkpoint.restore': 'best'}), workdir).step == 8


def test_a_figure_of_training_is_another_than_the_quoted_one(tmp_path, capsys):
    workdir = epath.Path(tmp_path) / 'run'
    fields = {**FIELDS, 'train.steps': 4}
    modes.run('train', tiny_config('dcgan', **fields), workdir)
    modes.run('evaluate', tiny_config('dcgan', **fields), workdir)
    quoted = json.loads(capsys.readouterr().out.splitlines()[-1])
    (seen,) = during_training.read(workdir)
    assert quoted['protocol']['generated']['weights'] == seen['protocol']['generated']['weights']
    assert np.isfinite(seen['fid']) and seen['fid'] != quoted['fid']
