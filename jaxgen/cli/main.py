"""jaxgen's command line: arguments, mode dispatch, exit codes. ``python main.py --mode=help`` explains it."""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from collections.abc import Sequence
from logging import CRITICAL, getLogger

from absl import logging


def main(argv: Sequence[str]) -> int:
    """Run a command line.

    Args:
      argv: the name of the program, then its arguments.

    Returns:
      The exit code: 2 for what the user can fix.
    """
    logging.set_verbosity(logging.FATAL)
    getLogger('asyncio').setLevel(CRITICAL)  # it repeats the sentence in which a failed checkpoint is reported
    warnings.filterwarnings('ignore', '.*decompression bomb')  # jaxgen refuses such pictures, in a sentence
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    from jaxgen.errors import UserError

    try:
        _run(argv[1:])
    except UserError as e:
        print(f'jaxgen: {e}', file=sys.stderr)
        return 2
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        print(
            f'jaxgen: cannot write {e.filename or "to the workdir"}: {e.strerror}; fix that and run the same command again',
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _run(argv: Sequence[str]) -> None:
    from jaxgen.cli import flags, help, modes
    from jaxgen.errors import pick
    from jaxgen.io.files import absolute

    arguments = flags.parse(argv)
    if arguments.mode == 'help':
        print(help.fields(flags.load(arguments)) if arguments.config else help.modes())
        return
    mode = modes.MODES[pick(arguments.mode, modes.MODES, '--mode')]
    draft = flags.load(arguments)
    workdir = absolute(arguments.workdir or flags.default_workdir(arguments.config or ''))
    modes.run(arguments.mode, modes.config_of(mode, draft), workdir)


def run() -> None:
    """Run the command line of this process and exit with its code; the ``jaxgen`` command calls this."""
    sys.exit(main(sys.argv))
