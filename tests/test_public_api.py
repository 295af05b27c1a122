"""The public names of jaxgen: each can be imported, says what it takes and gives, and its examples run."""

import doctest
import importlib
import inspect
import pathlib
import re
import types

import pytest

import jaxgen
from tests.helpers.library_folder import furnish

PACKAGE = pathlib.Path(jaxgen.__file__).parent
MODULES = [name for name in jaxgen.__all__ if (PACKAGE / name / '__init__.py').exists()]
# tests/metrics/test_api.py runs the examples of metrics, which need weights.
ELSEWHERE = PACKAGE / 'metrics/api.py'
WITH_EXAMPLES = sorted(path for path in PACKAGE.rglob('*.py') if '>>> ' in path.read_text() and path != ELSEWHERE)


def dotted(path):
    """Return the name of the module in a file of the package."""
    parts = ('jaxgen', *path.relative_to(PACKAGE).with_suffix('').parts)
    return '.'.join(parts).removesuffix('.__init__')


def public(module, name):
    """Return the public functions and classes of a module and of the modules that it makes public, by their dotted names."""
    found = {}
    for own in getattr(module, '__all__', ()):
        value = getattr(module, own)
        if isinstance(value, types.ModuleType):
            found |= public(value, f'{name}.{own}')
        elif callable(value):
            found[f'{name}.{own}'] = value
    return found


PUBLIC = public(jaxgen, 'jaxgen')
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}


@pytest.mark.parametrize('name', jaxgen.__all__)
def test_public_names_exist(name):
    assert getattr(jaxgen, name) is not None
    assert name in dir(jaxgen)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="module 'jaxgen' has no attribute 'diffusoin'"):
        _ = jaxgen.diffusoin


@pytest.mark.parametrize('name', MODULES)
def test_names_of_modules_exist(name):
    module = getattr(jaxgen, name)
    assert module.__all__, f'jaxgen.{name} has no public names'
    assert all(hasattr(module, own) for own in module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize('name', FUNCTIONS)
def test_public_functions_say_what_they_take_and_give(name):
    function = FUNCTIONS[name]
    text, signature = inspect.getdoc(function) or '', inspect.signature(function)
    assert text, f'{name} has no docstring'
    summary = text.splitlines()[0]
    assert summary.endswith('.'), f'the first line of {name} is no sentence'
    if signature.parameters:
        assert '\nArgs:\n' in text, f'{name} does not describe its arguments'
        described = text.partition('\nArgs:\n')[2]
        missing = [p for p in signature.parameters if not re.search(rf'^  \**{p}:', described, re.MULTILINE)]
        assert not missing, f'{name} does not describe {missing[0]}'
    gives = signature.return_annotation
    if gives not in (None, 'None', inspect.Signature.empty):
        assert '\nReturns:\n' in text or '\nYields:\n' in text, f'{name} does not say what it returns'


@pytest.mark.parametrize('name', PUBLIC)
def test_public_functions_and_classes_have_an_example(name):
    value = PUBLIC[name]
    is_result = inspect.isclass(value) and issubclass(value, tuple) and name.startswith('jaxgen.metrics.')
    assert is_result or '>>> ' in inspect.getdoc(PUBLIC[name]), f'{name} has no example'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in a folder with a small trained model, and with a random Inception where the published one is kept."""
    furnish(tmp_path, monkeypatch)


@pytest.mark.parametrize('path', WITH_EXAMPLES, ids=dotted)
def test_examples_in_docstrings_run(path, folder):
    module = importlib.import_module(dotted(path))
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failures, tried = doctest.testmod(module, optionflags=flags, extraglobs={'jaxgen': jaxgen})
    assert tried and not failures
