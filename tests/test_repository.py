"""The files around the code: YAML that parses, hooks that run what make lint runs, one version in all places."""

import pathlib
import re

import pytest

import jaxgen

ROOT = pathlib.Path(__file__).parents[1]
ISSUE_FORMS = ['bug', 'feature']


@pytest.fixture
def load():
    """Return a function that parses a YAML file of the repository."""
    yaml = pytest.importorskip('yaml')
    return lambda name: yaml.safe_load((ROOT / name).read_text())


def commands_of_lint():
    """Return the commands of make lint as they are run in .venv."""
    (recipe,) = re.findall(r'^lint:.*\n((?:\t.*\n)+)', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    commands = [command.strip() for line in recipe.splitlines() for command in line.split('&&')]
    return [command.replace('$(BIN)', '.venv/bin') for command in commands]


def test_hooks_run_what_make_lint_runs(load):
    (repository,) = load('.pre-commit-config.yaml')['repos']
    assert repository['repo'] == 'local'
    hooks = repository['hooks']
    assert [hook['entry'] for hook in hooks] == commands_of_lint()
    for hook in hooks:
        assert hook['language'] == 'system' and hook['always_run'] and not hook['pass_filenames']


def test_ci_runs_its_script_on_both_pythons(load):
    steps = load('.github/workflows/ci.yml')['jobs']['test']['steps']
    assert [step['run'] for step in steps if 'run' in step] == ['.ci/run']
    (versions,) = (step['with']['python-version'] for step in steps if 'setup-python' in step.get('uses', ''))
    assert sorted(versions.split()) == re.findall(r'find_python (3\.\d+)', (ROOT / '.ci' / 'run').read_text())
    assert (ROOT / '.ci' / 'run').stat().st_mode & 0o111


@pytest.mark.parametrize('name', ISSUE_FORMS)
def test_issue_forms_have_what_github_demands(load, name):
    form = load(f'.github/ISSUE_TEMPLATE/{name}.yml')
    assert form['name'] and form['description']
    ids = [field['id'] for field in form['body']]
    assert len({*ids}) == len(ids) and all(field['attributes']['label'] for field in form['body'])


def test_the_version_is_the_same_in_all_places(load):
    assert load('CITATION.cff')['version'] == jaxgen.__version__
    assert f'[{jaxgen.__version__}]' in (ROOT / 'CHANGELOG.md').read_text()


def test_packages_have_at_most_2000_lines_and_files_350():
    """Each file of jaxgen/apps is an app of its own, as each of its folders is."""
    lines = {path: len(path.read_text().splitlines()) for path in (ROOT / 'jaxgen').rglob('*.py')}
    assert lines and max(lines.values()) <= 350
    for folder in {path.parent for path in lines} - {ROOT / 'jaxgen' / 'apps'}:
        assert sum(n for path, n in lines.items() if path.parent == folder) <= 2000, folder
