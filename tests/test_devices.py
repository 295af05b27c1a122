"""Setting JAX up as the config says, before anything is compiled."""

import os

import pytest

from jaxgen.apps import devices
from jaxgen.errors import UserError
from jaxgen.runtime import memory, xla_flags
from tests.tiny import tiny_config


def test_flags_that_the_user_has_set_are_kept(monkeypatch):
    monkeypatch.setenv('XLA_FLAGS', '--xla_gpu_autotune_level=2')
    xla_flags.make_gpus_deterministic()
    expected = ['--xla_gpu_autotune_level=2', '--xla_gpu_exclude_nondeterministic_ops=true']
    assert os.environ['XLA_FLAGS'].split() == expected


@pytest.mark.parametrize('asked', [False, True])
def test_deterministic_runs_ask_for_the_flags(monkeypatch, asked):
    calls = []
    monkeypatch.setattr(xla_flags, 'make_gpus_deterministic', lambda: calls.append('asked'))
    devices.set_up(tiny_config(**{'train.deterministic': asked}))
    assert calls == ['asked'] * asked


@pytest.mark.parametrize('asked', [False, True])
def test_memory_is_kept_where_the_config_says_so(monkeypatch, asked):
    calls = []
    monkeypatch.setattr(memory, 'use_one_arena', lambda: calls.append('asked'))
    devices.set_up(tiny_config(**{'mesh.keep_memory': asked}))
    assert calls == ['asked'] * asked


def test_an_untried_jaxlib_is_refused_for_deterministic_runs(monkeypatch):
    monkeypatch.setattr(xla_flags, '_jaxlib_version', lambda: '9.0.0')
    with pytest.raises(
        UserError, match='config.train.deterministic: reproducible runs need flags of XLA that were not tried'
    ):
        devices.set_up(tiny_config(**{'train.deterministic': True}))
