"""The command that writes the page of a benchmark: what it refuses, and that it then writes nothing."""

import json
import pathlib

import pytest

from jaxgen.apps.benchmark import page

ROOT = pathlib.Path(__file__).parents[3]
REPORT = (ROOT / 'docs' / 'results' / 'benchmark_ddpm.json').read_text()


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command in a folder, and returns its exit code, its output and the new files."""
    contents = {'whole': REPORT, 'empty': '{}', 'cut': REPORT[:2000], 'list': '[3]', 'old': json.dumps({'rows': {}})}
    for name, content in contents.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / 'benchmark.json').write_text(content)
    (tmp_path / 'README.md').write_text('no marks')
    (tmp_path / 'binary').write_bytes(b'\xff')
    before = {*tmp_path.rglob('*')}
    monkeypatch.chdir(tmp_path)

    def command(*args):
        code = page.main(['page', *args])
        return code, capsys.readouterr().err, {str(p.relative_to(tmp_path)) for p in {*tmp_path.rglob('*')} - before}

    return command


def test_the_page_and_the_reports_are_written(run, monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    code, said, files = run('whole', 'nothing', '--out=~/results/page.md')
    assert (code, said, files) == (0, '', {'results', 'results/page.md', 'results/whole.json'})


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        ([], 'the following arguments are required: workdirs, --out; usage: python -m jaxgen.apps.benchmark.page'),
        (['whole', '--out=page.md', '--radme=x'], 'unrecognized arguments: --radme=x; usage: '),
        (['nothing', '--out=page.md'], 'none of nothing holds a benchmark.json: run --mode=benchmark'),
        (
            ['whole', 'empty', '--out=page.md'],
            'empty/benchmark.json is not the whole report of a benchmark (KeyError: ',
        ),
        (['cut', '--out=page.md'], 'cut/benchmark.json is not the whole report of a benchmark (JSONDecodeError: '),
        (['list', '--out=page.md'], 'list/benchmark.json is not the whole report of a benchmark (TypeError: '),
        (['old', '--out=page.md'], 'old/benchmark.json is not the whole report of a benchmark (KeyError: '),
        (['whole', '--out=~nobody_here/page.md'], "~nobody_here/page.md: there is no user 'nobody_here' here"),
        (['whole', '--out=page.md', '--readme=README.md'], '--readme=README.md: the README has no <!-- begin of the'),
        (['whole', '--out=page.md', '--readme=nothing.md'], '--readme=nothing.md cannot be read (FileNotFoundError: '),
        (
            ['whole', '--out=page.md', '--convolutions=binary'],
            '--convolutions=binary cannot be read (UnicodeDecodeError',
        ),
    ],
)
def test_what_is_refused_leaves_no_file(run, args, words):
    code, said, files = run(*args)
    assert code == 2 and words in said and len(said.splitlines()) == 1 and not files
