"""Run a command line: exit codes, interruptions, closed pipes and messages about errors.

Exit codes: 0 for success, 2 for an error that the user can fix, 1 for any other error, 128 + n for signal n.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import gc
import importlib.metadata
import os
import pathlib
import platform
import select
import shlex
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from jaxgen.errors import UserError, described, on_one_line
from jaxgen.runtime import progress
from jaxgen.runtime.interruption import answered, end_at_once

WHOLE_TRACEBACK = 'JAXGEN_TRACEBACK'  # set this variable to 1 to see the traceback of an unexpected error
PATIENCE = 0.5  # seconds after which a message answers a signal that has not stopped the program yet
FILE = 'traceback.txt'  # name of the file in the run directory that has the traceback of an unexpected error
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
# Errors of the file system that the user can fix
NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
NOT_USABLE = (
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY),
    *(errno.EMFILE, errno.ENFILE, errno.EIO),
)


@dataclasses.dataclass
class Surroundings:
    """Facts about a running command that a report of an error uses.

    Attributes:
      folder: the run directory; None before it is known.
      batch_sizes: the fields that decide how much memory the command needs.
    """

    folder: pathlib.Path | None = None
    batch_sizes: str = 'the batch size'


class Parser(argparse.ArgumentParser):
    """A parser of the arguments of a small command that raises a UserError where argparse ends the process."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise UserError(f'{message}; {" ".join(self.format_usage().split())}')


class _Signals:
    """A block in which SIGTERM ends the process and SIGINT raises KeyboardInterrupt.

    ``interrupted`` records that SIGINT came, because libraries turn a KeyboardInterrupt into other errors, above all while they
    are imported.
    """

    interrupted = False

    def __init__(self):
        self._answers, self._listening = 0, contextlib.ExitStack()

    def __enter__(self) -> _Signals:
        self._before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        if self._before[signal.SIGINT] is not signal.SIG_IGN:  # a shell makes background commands ignore it
            signal.signal(signal.SIGINT, self._interrupt)
        self._listening.enter_context(answered(self._answer))
        return self

    def _answer(self, number: int, ended: threading.Event) -> None:
        """Answer a signal with a message if the program is busy, and end the program if the signal comes again."""
        self._answers += 1
        if self._answers > 1:
            end_at_once(number, ended, PATIENCE)
        elif not ended.wait(PATIENCE):
            stage = progress.unstoppable()
            when = f'after {stage}, which cannot be interrupted' if stage else 'when what runs now has ended'
            _say(f'{signal.Signals(number).name}: stopping {when}; Ctrl-C once more ends the program at once')

    def _interrupt(self, number, frame) -> None:
        self.interrupted = True
        raise KeyboardInterrupt

    def __exit__(self, *exc) -> None:
        self._listening.close()
        for number, handler in self._before.items():
            signal.signal(number, handler)


def run(command: Callable[[Sequence[str], Surroundings], object], argv: Sequence[str]) -> int:
    """Run a command, and say in one or two lines on stderr why it failed.

    Args:
      command: the function that takes the arguments, and fills in the surroundings that it gets as its second argument.
      argv: the name of the program, then its arguments.

    Returns:
      The exit code.

    Raises:
      SystemExit: as the command does.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')  # some terminals cannot show all characters
    surroundings = Surroundings()
    with _Signals() as signals:
        try:
            command(argv[1:], surroundings)
            sys.stdout.flush()
            return 0
        except (KeyboardInterrupt, Exception) as e:
            if signals.interrupted or isinstance(e, KeyboardInterrupt):
                _say('interrupted')
                return 128 + signal.SIGINT
            return _failed(e, argv, surroundings)


def leave(code: int) -> NoReturn:
    """End the process with an exit code; Ctrl-C while it ends prints no error."""
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))
    gc.freeze()  # otherwise the garbage collector spends seconds on the objects of JAX and TensorFlow at exit
    sys.exit(code)


def _failed(error: Exception, argv: Sequence[str], surroundings: Surroundings) -> int:
    """Say why a command failed, and return its exit code."""
    if isinstance(error, UserError):
        _say(str(error))
        return 2
    if isinstance(error, BrokenPipeError) and _stdout_is_closed():
        return 128 + signal.SIGPIPE  # as a shell reports other tools whose reader has ended
    reason = _reason(error, surroundings)
    if reason is not None:
        _say(reason)
        return 2
    _say(f'an unexpected error, {described(error)}')
    if os.environ.get(WHOLE_TRACEBACK, '') not in ('', '0'):
        traceback.print_exception(error)
        return 1
    report = _report(error, argv)
    for folder in (surroundings.folder, None):
        with contextlib.suppress(OSError):
            file = _write(report, folder)
            _say(f'please report it with the whole traceback, which is in {file}; {WHOLE_TRACEBACK}=1 shows it here')
            return 1
    _say(f'please report it with the whole traceback, which {WHOLE_TRACEBACK}=1 shows')
    return 1


def _reason(error: Exception, surroundings: Surroundings) -> str | None:
    """Return what the user can do about an error of memory or of the file system; None for other errors."""
    for each in _chain(error):
        if isinstance(each, MemoryError) or str(each).startswith('RESOURCE_EXHAUSTED'):
            said = described(each).removeprefix('JaxRuntimeError: ').removeprefix('XlaRuntimeError: ')
            return f'there is not enough memory ({said}): lower {surroundings.batch_sizes}, or choose a smaller model'
    if isinstance(error, OSError) and error.errno in (*NOT_WRITABLE, *NOT_USABLE):
        done = 'write' if error.errno in NOT_WRITABLE else 'use'
        where = error.filename or ('to the workdir' if done == 'write' else 'a file')
        return f'cannot {done} {where}: {error.strerror}; fix that and run the same command again'
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _report(error: Exception, argv: Sequence[str]) -> str:
    """Return the command line, the versions and the traceback of an error."""
    versions = [f'Python {platform.python_version()} on {platform.platform()}']
    for package in PACKAGES:
        try:
            versions.append(f'{package} {importlib.metadata.version(package)}')
        except importlib.metadata.PackageNotFoundError:
            continue
    return '\n'.join([shlex.join(argv), ', '.join(versions), '', *traceback.format_exception(error)])


def _write(text: str, folder: pathlib.Path | None) -> str:
    """Write a text to a folder if that exists, or else to a temporary file that only the user can read; return the path."""
    data = text.encode(errors='backslashreplace')
    if folder is not None and folder.is_dir():
        with tempfile.NamedTemporaryFile(dir=folder, prefix='.', delete=False) as file:
            file.write(data)
        os.replace(file.name, folder / FILE)
        return str(folder / FILE)
    descriptor, path = tempfile.mkstemp(prefix='jaxgen-', suffix='.txt')
    with open(descriptor, 'wb') as opened:
        opened.write(data)
    return path


def _stdout_is_closed() -> bool:
    """Return whether the reader of stdout is gone; if so, discard what is printed from now on."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return True


def _say(sentence: str) -> None:
    """Print one line on stderr; ignore it if stderr is closed."""
    try:
        print(f'jaxgen: {on_one_line(sentence)}', file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
