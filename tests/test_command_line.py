"""How a command ends: exit codes, interruptions, closed pipes, terminals, and the report of an unexpected error."""

import errno
import io
import os
import pathlib
import signal
import subprocess
import sys

import jax
import pytest

from jaxgen.errors import UserError
from jaxgen.runtime import command_line

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def ctrl_c():
    """SIGINT as a shell leaves it to a command; what starts the tests in the background may have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def end(command, capsys, *argv):
    """Run a command, and return its exit code and the lines on stderr."""
    code = command_line.run(command, ['main.py', *argv])
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith('jaxgen: ') for line in lines)
    return code, [line.removeprefix('jaxgen: ') for line in lines]


def raising(error, folder=None):
    def command(argv, surroundings):
        surroundings.folder, surroundings.batch_sizes = folder, 'config.data.batch_size'
        raise error

    return command


def interrupted_import(argv, surroundings):
    """What a library does that turns every exception of its import into its own."""
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException as e:
        raise ImportError('numpy is broken') from e


@pytest.mark.parametrize(
    ('command', 'code', 'sentence'),
    [
        (raising(UserError('x=3 is wrong')), 2, 'x=3 is wrong'),
        (raising(UserError('x=a\nb is wrong')), 2, 'x=a\\nb is wrong'),
        (raising(KeyboardInterrupt()), 130, 'interrupted'),
        (lambda *_: signal.raise_signal(signal.SIGINT), 130, 'interrupted'),
        (interrupted_import, 130, 'interrupted'),
        (
            raising(OSError(errno.ENOSPC, 'No space left on device', '/x')),
            2,
            'cannot write /x: No space left on device; fix that and run the same command again',
        ),
        (raising(OSError(errno.EISDIR, 'Is a directory', '/x')), 2, 'cannot use /x: Is a directory; fix that and'),
        (
            raising(MemoryError()),
            2,
            'there is not enough memory (MemoryError): lower config.data.batch_size, or choose',
        ),
        (
            raising(jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.')),
            2,
            'there is not enough memory (RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.): lower config.data.batch',
        ),
    ],
)
def test_expected_ends_are_one_sentence(command, code, sentence, capsys):
    found, (line,) = end(command, capsys)
    assert found == code and line.startswith(sentence)


def test_signals_are_as_before_when_a_command_has_ended(capsys):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    end(raising(UserError('no')), capsys)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_unexpected_error_is_reported_in_the_run_directory(tmp_path, capsys):
    error = KeyError('weights\nof the network')
    code, (what, remedy) = end(raising(error, tmp_path), capsys, '--mode=sample', '--config.sample.name=a b')
    assert code == 1 and what == "an unexpected error, KeyError: 'weights\\nof the network'"
    assert remedy.startswith(f'please report it with the whole traceback, which is in {tmp_path}/traceback.txt;')
    report = (tmp_path / 'traceback.txt').read_text()
    assert report.startswith("main.py --mode=sample '--config.sample.name=a b'\n")
    assert (
        f'jax {jax.__version__}' in report and 'Traceback (most recent call last)' in report and 'raise error' in report
    )
    assert [p.name for p in tmp_path.iterdir()] == ['traceback.txt']


@pytest.mark.parametrize('folder', [None, pathlib.Path('/no/such/folder')])
def test_without_a_run_directory_the_report_is_temporary(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    code, (_, remedy) = end(raising(RuntimeError(), folder), capsys)
    (file,) = tmp_path.iterdir()
    assert code == 1 and f'which is in {file};' in remedy and file.stat().st_mode & 0o777 == 0o600
    assert file.name not in ('jaxgen-.txt', 'jaxgen.txt') and 'RuntimeError' in file.read_text()


def test_a_report_that_cannot_be_written_is_no_further_error(tmp_path, capsys, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('tempfile.mkstemp', full)
    monkeypatch.setattr('tempfile.NamedTemporaryFile', full)
    code, (_, remedy) = end(raising(RuntimeError('x'), tmp_path), capsys)
    assert code == 1 and 'JAXGEN_TRACEBACK=1 shows' in remedy


def test_the_traceback_is_shown_if_asked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('JAXGEN_TRACEBACK', '1')
    assert command_line.run(raising(KeyError('x'), tmp_path), ['main.py']) == 1
    said = capsys.readouterr().err
    assert said.startswith("jaxgen: an unexpected error, KeyError: 'x'\nTraceback (most recent call last)")
    assert not any(tmp_path.iterdir())


def test_a_reader_that_has_ended_is_no_error(capsys, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, 'w') as stdout:
        monkeypatch.setattr('sys.stdout', stdout)
        assert command_line.run(lambda *_: print('x' * 100_000), ['main.py']) == 141
        print('more', flush=True)  # as the interpreter does when it ends
    assert capsys.readouterr().err == ''


def test_a_broken_pipe_of_another_kind_is_an_error(capsys, tmp_path):
    code, (what, _) = end(raising(BrokenPipeError(errno.EPIPE, 'Broken pipe'), tmp_path), capsys)
    assert code == 1 and what == 'an unexpected error, BrokenPipeError: [Errno 32] Broken pipe'


def test_every_character_can_be_printed(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr('sys.stdout', stdout)
    assert command_line.run(lambda *_: print('3×3 \udc80'), ['main.py']) == 0
    assert stdout.buffer.getvalue() == b'3\\xd73 \\udc80\n'


def test_ctrl_c_while_python_imports(tmp_path):
    (tmp_path / 'absl').mkdir()
    (tmp_path / 'absl' / '__init__.py').write_text('raise KeyboardInterrupt')
    env = os.environ | {'PYTHONPATH': str(tmp_path)}
    done = subprocess.run([sys.executable, 'main.py', '--mode=help'], cwd=ROOT, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, '', '')
