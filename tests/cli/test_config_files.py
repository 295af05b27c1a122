"""What is said of a ``--config`` that is no config, and of a mistake in one."""

import pathlib

import pytest

from jaxgen.cli import config_files, flags
from jaxgen.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
BEGIN = 'from jaxgen import config\n\n\ndef get_config():\n    c = config.base()\n'


def refusal(*argv):
    """Return the sentence about a command line."""
    with pytest.raises(UserError) as e:
        flags.load(flags.parse(argv))
    assert '\n' not in str(e.value)
    return str(e.value)


@pytest.mark.parametrize('override', [(), ('--config.seed=3', '--config.data.batch_size=8')])
@pytest.mark.parametrize(
    ('config', 'words'),
    [
        ('configs/ddpm_digit.py', 'is not a file; did you mean configs/ddpm_digits.py?'),
        ('configs/ddpm_digits', 'is not a file; did you mean configs/ddpm_digits.py?'),
        ('ddpm_digits.py:small', 'is not a file; did you mean configs/ddpm_digits.py?'),
        ('xyzzy.py', 'is not a file; there are configs/'),
        ('configs', 'configs is a folder and not a file; there are configs/'),
        ('configs/ddpm_digits.py:nope', 'has no variants: leave out :nope'),
        ('configs/ddpm_cifar.py:nope', "configs/ddpm_cifar.py has no variant 'nope'; it has edm, cpu, guide, "),
        ('pyproject.toml', 'pyproject.toml is not a Python file: name a config file, as in configs/ddpm_digits.py'),
    ],
)
def test_a_config_that_is_not_there(monkeypatch, config, words, override):
    monkeypatch.chdir(ROOT)
    assert words in refusal(f'--config={config}', *override)


def test_elsewhere_the_configs_of_the_checkout_are_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    said = refusal('--config=configs/ddpm_digits.py')
    assert said == f'--config=configs/ddpm_digits.py is not a file; did you mean {ROOT}/configs/ddpm_digits.py?'
    monkeypatch.setattr(config_files.jaxgen, '__path__', [str(tmp_path / 'jaxgen')])
    assert 'no folder configs is here: run this in a checkout of jaxgen' in refusal('--config=configs/ddpm_digits.py')


def test_the_config_of_a_run_directory_is_named(tmp_path):
    (tmp_path / 'config.json').write_text('{}')
    assert refusal(f'--config={tmp_path}') == (
        f'--config={tmp_path} is a folder and not a file; did you mean {tmp_path}/config.json?'
    )
    assert refusal(f'--config={tmp_path}/config.jsn').endswith(f'did you mean {tmp_path}/config.json?')


@pytest.mark.parametrize(
    ('code', 'words'),
    [
        ('', 'mine.py has no function get_config: name a config file'),
        ('get_config = 3', 'has no function get_config'),
        ('x = (', 'mine.py is not Python: '),
        (
            'def f():\n    pass\n  x',
            'mine.py is not Python: unindent does not match any outer indentation level in line 3',
        ),
        (b'\x89PNG\r\n\x1a\n\x00\xff', 'mine.py is not Python'),
        (b'x = 3\x00', 'mine.py is not Python'),
        ('import no_such_module', "mine.py, line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ('\nimport sys\nsys.exit("bye")', 'mine.py, line 3: SystemExit: bye'),
        ('def get_config(variant):\n    return 3', 'mine.py needs a variant: write --config='),
        (BEGIN + '    raise KeyError("colour")', "mine.py, line 6: KeyError: 'colour'"),
        (BEGIN + '    return c + 1', 'mine.py, line 6: TypeError: '),
        (
            BEGIN + '    c.data.bath_size = 8',
            'mine.py, line 6: the field bath_size does not exist; did you mean config.data.b',
        ),
        (
            BEGIN + '    c.data.bath_size',
            'line 6: the field bath_size does not exist; did you mean config.data.batch_size',
        ),
        (BEGIN + '    c.dota.batch_size = 8', 'line 6: the field dota does not exist'),
        (
            BEGIN + '    return config.base("ddmp")',
            "mine.py, line 6: config.family 'ddmp' does not exist; did you mean ddpm",
        ),
        (BEGIN, 'mine.py: get_config must return the config that config.base made'),
        (BEGIN + '    return {"family": "ddpm"}', 'get_config must return the config that config.base made'),
        (
            'from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({"family": "ddpm"})',
            'get_config must return the config that config.base made',
        ),
        (BEGIN + '    c.family = 3\n    return c', 'mine.py: config.family=3 must be one of ddpm'),
        (BEGIN + '    c.family = "dcgan"\n    return c', 'config.gan is not a section with the fields loss, '),
        (
            BEGIN + '    c.data = 3\n    return c',
            'mine.py: config.data is not a section with the fields name, path',
        ),
        (BEGIN + '    c.plugins = "mine"\n    return c', 'config.plugins=mine must be names separated by commas'),
    ],
)
def test_a_mistake_in_a_config_file_is_a_sentence(tmp_path, code, words):
    file = tmp_path / 'mine.py'
    file.write_bytes(code if isinstance(code, bytes) else code.encode())
    said = refusal(f'--config={file}', '--config.data.batch_size=8')
    assert said.startswith(f'--config={file}') and words in said, said


def test_the_refusals_of_a_config_file_stay_as_they_are(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text('from jaxgen.errors import UserError\ndef get_config():\n    raise UserError("not on Sundays")\n')
    assert refusal(f'--config={file}') == 'not on Sundays'


def test_a_config_file_that_is_interrupted_stays_so(tmp_path):
    (tmp_path / 'mine.py').write_text('raise KeyboardInterrupt')
    with pytest.raises(KeyboardInterrupt):
        flags.load(flags.parse([f'--config={tmp_path}/mine.py']))


@pytest.mark.parametrize(
    ('code', 'words'),
    [('x = (', 'broken_plugin.py, line 1'), ('\nraise ValueError("no")', 'broken_plugin.py, line 2: ValueError: no')],
)
def test_a_plugin_that_fails_is_a_sentence(monkeypatch, tmp_path, code, words):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'broken_plugin.py').write_text(code)
    said = refusal(f'--config={ROOT}/configs/ddpm_digits.py', '--config.plugins=broken_plugin')
    assert said.startswith('config.plugins=broken_plugin cannot be imported: ') and words in said
