"""jaxgen's command line: arguments and mode dispatch. ``python main.py --mode=help`` explains it."""

from __future__ import annotations

import pathlib
import sys
import warnings
from collections.abc import Sequence
from logging import CRITICAL, getLogger

from absl import logging

from jaxgen.runtime import command_line, progress


def main(argv: Sequence[str]) -> int:
    """Run a command line.

    Args:
      argv: the name of the program, then its arguments.

    Returns:
      The exit code, as ``jaxgen.runtime.command_line`` explains it.
    """
    logging.set_verbosity(logging.FATAL)
    getLogger('asyncio').setLevel(CRITICAL)  # it would repeat the message about a failed checkpoint
    warnings.filterwarnings('ignore', '.*decompression bomb')  # jaxgen refuses such pictures with its own message
    return command_line.run(_run, argv)


def _run(argv: Sequence[str], surroundings: command_line.Surroundings) -> None:
    with progress.shown(), progress.Stage('starting', announces=False, sums_up=False) as stage:
        _run_mode(argv, surroundings, stage)


def _run_mode(argv: Sequence[str], surroundings: command_line.Surroundings, stage: progress.Stage) -> None:
    """Run the mode of a command line.

    Args:
      argv: the arguments without the name of the program.
      surroundings: filled in for the report of an error.
      stage: the outermost stage, shown when no other is; it gets the name of the mode.
    """
    from jaxgen.cli import flags, help, modes
    from jaxgen.errors import pick
    from jaxgen.io.files import absolute, is_remote, require_writable
    from jaxgen.io.run_directory import output_folder

    arguments = flags.parse(argv)
    if arguments.mode == 'help':
        print(help.fields(flags.load(arguments)) if arguments.config else help.modes())
        return
    stage.what = arguments.mode
    if arguments.mode == 'doctor':
        from jaxgen.apps import doctor

        doctor.run()
        return
    mode = modes.MODES[pick(arguments.mode, modes.MODES, '--mode')]
    draft = flags.load(arguments)
    modes.require_read(arguments.mode, arguments.names)
    workdir = absolute(arguments.workdir or flags.default_workdir(arguments.config or ''))
    surroundings.folder = None if is_remote(workdir) else pathlib.Path(workdir)
    surroundings.batch_sizes = mode.batch_sizes
    if mode.writes:
        require_writable(output_folder(workdir) if mode.spares_published else workdir, '--workdir')
    modes.run(arguments.mode, modes.config_of(mode, draft), workdir)


def run() -> None:
    """Run the command line of this process and exit with its code; the ``jaxgen`` command calls this."""
    command_line.leave(main(sys.argv))
