"""What is installed: the same packages by pip and by requirements.txt, every file that jaxgen reads, the command."""

import ast
import importlib
import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import jaxgen

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / 'jaxgen'
PYPROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())
PROJECT = PYPROJECT['project']
EXTRAS = PROJECT['optional-dependencies']
COMES_WITH_JAX = {'jaxlib'}


def canonical(lines):
    """Return requirements in one spelling, whatever the case, the quotes and the order of their specifiers."""
    found = set()
    for line in lines:
        requirement = Requirement(line)
        requirement.name = canonicalize_name(requirement.name)
        found.add(str(requirement))
    return found


def requirements(name):
    """Return the lines of a requirements file without comments and without the files that it includes."""
    lines = [line.partition('#')[0].strip(' \\') for line in (ROOT / name).read_text().splitlines()]
    return [line for line in lines if line and not line.startswith('-')]


def names(lines):
    return {canonicalize_name(Requirement(line).name) for line in lines}


def locked():
    """Return the versions of each package in requirements.lock, of which those of some Pythons differ."""
    versions = {}
    for line in requirements('requirements.lock'):
        requirement = Requirement(line)
        versions.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return versions


def test_requirements_are_those_of_pyproject():
    assert canonical(requirements('requirements.txt')) == canonical(PROJECT['dependencies'])
    assert canonical(requirements('requirements-demo.txt')) == canonical(EXTRAS['demo'])
    docs = {Requirement(line).name for line in requirements('requirements-docs.txt')}
    assert docs == {Requirement(line).name for line in EXTRAS['docs']}
    assert '-r requirements-demo.txt' in (ROOT / 'requirements-test.txt').read_text()
    of_tests = canonical(requirements('requirements-test.txt')) | canonical(EXTRAS['demo'])
    assert of_tests == canonical(EXTRAS['test'])


def test_lock_has_every_requirement():
    """A package whose version stands in the requirements needs no other."""
    for line in PROJECT['dependencies'] + EXTRAS['test']:
        wanted = Requirement(line)
        if str(wanted.specifier).startswith('=='):
            continue
        pins = locked().get(canonicalize_name(wanted.name))
        assert pins, f'requirements.lock has no {wanted.name}: run make lock'
        for pin in pins:
            version = next(iter(pin.specifier)).version
            assert wanted.specifier.contains(version), (
                f'requirements.lock has {pin}, which is not {wanted}: run make lock'
            )


def test_every_file_of_the_lock_has_its_sha256():
    """As pip demands with --require-hashes; PyTorch has another build for CPUs, which is not on the same index."""
    text = (ROOT / 'requirements.lock').read_text().replace('\\\n', ' ')
    pins = [line for line in text.splitlines() if not line.startswith('#')]
    assert len(pins) >= 100
    for pin in pins:
        assert re.fullmatch(r'[\w.-]+==\S+( ; [^#]+?)?( +--hash=sha256:[0-9a-f]{64})+', pin), pin
        assert not pin.startswith('torch==')


def test_every_import_is_declared():
    """A package that jaxgen imports is one of its dependencies or of its extras."""
    imported = {}
    for path in PACKAGE.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or '']
            else:
                continue
            imported.update({module.partition('.')[0]: path for module in modules})
    distributions = importlib.metadata.packages_distributions()
    declared = names(PROJECT['dependencies'] + [line for lines in EXTRAS.values() for line in lines]) | COMES_WITH_JAX
    for module, path in sorted(imported.items()):
        if module in sys.stdlib_module_names or module == 'jaxgen':
            continue
        owners = {canonicalize_name(name) for name in distributions.get(module, [module])}
        assert owners & declared, f'{path} imports {module}, which pyproject.toml does not declare'


def test_files_that_are_read_are_installed():
    installed = set()
    for package, patterns in PYPROJECT['tool']['setuptools']['package-data'].items():
        folder = ROOT.joinpath(*package.split('.'))
        for pattern in patterns:
            found = set(folder.glob(pattern))
            assert found, f'{package} has no {pattern}'
            installed |= found
    there = {path for path in PACKAGE.rglob('*') if path.is_file() and '__pycache__' not in path.parts}
    assert {path for path in there if path.suffix != '.py'} == installed
    assert all((path.parent / '__init__.py').exists() for path in there if path.suffix == '.py')


def test_version_is_that_of_the_package():
    assert PYPROJECT['tool']['setuptools']['dynamic']['version'] == {'attr': 'jaxgen.__version__'}
    assert jaxgen.__version__.count('.') == 2


def test_command_exits_with_the_code_of_main(monkeypatch, capsys):
    module, _, function = PROJECT['scripts']['jaxgen'].partition(':')
    command = getattr(importlib.import_module(module), function)
    for arguments, code in ((['--mode=help'], 0), (['--mode=trian'], 2)):
        monkeypatch.setattr(sys, 'argv', ['jaxgen', *arguments])
        with pytest.raises(SystemExit) as stopped:
            command()
        assert stopped.value.code == code
    assert '--mode=train' in capsys.readouterr().out


def test_importing_jaxgen_starts_nothing():
    """It sets the flags of XLA, and imports neither JAX nor what needs it."""
    program = 'import sys, os, jaxgen; print("jax" in sys.modules, "xla_cpu" in os.environ.get("XLA_FLAGS", ""))'
    done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['False', 'True']
