"""Compilation: once for all who wait, and in the background only while nobody samples and nothing trains."""

import contextlib
import threading
import types

import numpy as np
import pytest
from etils import epath

from jaxgen.apps.demo import programs, warm_up
from jaxgen.apps.demo.engine import Progress
from jaxgen.apps.demo.warm_up import WarmUp
from jaxgen.io import lock


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(programs, 'INTERVAL', 0.001)


def test_a_program_is_compiled_once_for_all_who_wait():
    may_end, calls, known = threading.Event(), [], programs.Programs()

    def compile_slowly():
        calls.append('compiled')
        assert may_end.wait(30)

    one, other = (known.wait('step', compile_slowly) for _ in range(2))
    assert next(one) >= 0 and next(other) >= 0 and known.longest == 0
    may_end.set()
    list(one), list(other)
    assert calls == ['compiled'] and not list(known.wait('step', compile_slowly)) and known.longest > 0


def test_a_compilation_that_failed_is_tried_again():
    known = programs.Programs()
    with pytest.raises(ZeroDivisionError):
        list(known.wait('step', lambda: 1 / 0))
    assert not [*known.wait('step', lambda: None)]


class Models:
    """Run directories of two pretrained models, which record the models that are compiled."""

    def __init__(self, folder):
        self.folder, self.compiled = folder, []
        self.steps = [Progress(0, 2, np.zeros((1, 8, 8, 1)), compiling=1.0), Progress(1, 2, np.zeros((1, 8, 8, 1)))]

    def pretrained(self):
        return ['a', 'b']

    def titles(self):
        return {'a': 'A', 'b': 'B'}

    def is_training(self):
        return lock.is_locked(self.folder)

    def model(self, name):
        def generate(fields):
            self.compiled.append((name, self.warm_up.state))
            yield from self.steps
            raise AssertionError('only the first step is needed')

        return types.SimpleNamespace(generate=generate, config=None)


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setattr(warm_up, 'can_edit', lambda config: False)
    monkeypatch.setattr(warm_up, 'SECONDS', 0.001)
    made = Models(epath.Path(tmp_path))
    made.warm_up = WarmUp(made)
    return made


def test_the_best_models_are_compiled_first_and_the_page_says_so(models):
    models.warm_up.run(types.SimpleNamespace(is_busy=False))
    assert [name for name, _ in models.compiled] == ['a', 'b']
    assert 'Compiling A in the background (1 of 2)' in models.compiled[0][1] and not models.warm_up.state


def test_nothing_is_begun_while_a_visitor_samples(models):
    busy = types.SimpleNamespace(is_busy=True)
    thread = threading.Thread(target=models.warm_up.run, args=(busy,))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive() and not models.compiled
    models.warm_up.end()
    thread.join(30)
    assert not thread.is_alive() and not models.compiled


def test_nothing_is_compiled_during_training(models, monkeypatch):
    monkeypatch.setattr(models.warm_up, 'run', lambda jobs: models.compiled.append('begun'))
    with contextlib.closing(lock.Lock(models.folder)):
        models.warm_up.begin(types.SimpleNamespace(is_busy=False))
    assert not models.compiled and not models.is_training()
