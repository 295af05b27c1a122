"""Setting JAX up: reproducibility on GPUs is asked of XLA before anything is compiled."""

import os

import pytest

from jaxgen import devices, xla_flags
from jaxgen.errors import UserError
from tests.tiny import tiny_config


def test_deterministic_runs_set_the_flags_of_xla(monkeypatch):
    monkeypatch.setenv('XLA_FLAGS', '--xla_gpu_autotune_level=2')
    devices.set_up(tiny_config())
    assert os.environ['XLA_FLAGS'] == '--xla_gpu_autotune_level=2'
    devices.set_up(tiny_config(**{'train.deterministic': True}))
    assert os.environ['XLA_FLAGS'].split() == [
        '--xla_gpu_autotune_level=2',  # what the user has set
        '--xla_gpu_exclude_nondeterministic_ops=true',
    ]


def test_an_untried_jaxlib_is_refused_for_deterministic_runs(monkeypatch):
    monkeypatch.setattr(xla_flags, '_jaxlib_version', lambda: '9.0.0')
    with pytest.raises(UserError, match='config.train.deterministic=True needs flags of XLA that were not tried'):
        devices.set_up(tiny_config(**{'train.deterministic': True}))
