"""The message of ``--mode=demo`` without Gradio."""

import sys

import pytest
from etils import epath

from jaxgen.cli import modes
from jaxgen.errors import UserError
from tests.tiny import tiny_config


def test_without_gradio_it_says_what_to_install(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith('jaxgen.apps.demo')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'gradio', None)
    with pytest.raises(UserError, match='pip install -r requirements-demo.txt'):
        modes.run('demo', tiny_config(), epath.Path(tmp_path))
