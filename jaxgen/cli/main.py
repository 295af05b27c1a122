"""jaxgen's command line: flags, mode dispatch, exit codes. ``python main.py --mode=help`` explains."""

from __future__ import annotations

import errno
import pathlib
import re
import signal
import sys
from logging import CRITICAL, getLogger

from absl import flags, logging
from ml_collections import config_flags

FLAGS = flags.FLAGS
STORED = str(pathlib.Path(__file__).parents[1] / 'apps' / 'stored_config.py')
CONFIG = config_flags.DEFINE_config_file('config', None, 'A file in configs/, with :VARIANT if it has any.')
flags.DEFINE_string('workdir', None, 'Where the run lives; runs/NAME or runs/NAME-VARIANT by default.')
flags.DEFINE_string('mode', 'train', 'What to do; --mode=help lists the modes.')


def main(argv: list[str]) -> int:
    """Runs a command line and returns its exit code: 2 for what the user can mend."""
    logging.set_verbosity(logging.FATAL)
    getLogger('asyncio').setLevel(CRITICAL)  # it repeats what a failed checkpoint has said in its sentence
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    from jaxgen.cli import modes
    from jaxgen.errors import UserError, pick
    from jaxgen.io.files import absolute

    try:
        _parse(argv)
        if FLAGS.mode == 'help':
            print(modes.help_text())
            return 0
        pick(FLAGS.mode, modes.MODES, '--mode')
        if not FLAGS['config'].present:
            raise UserError('--config=configs/NAME.py is missing; --mode=help explains')
        workdir = FLAGS.workdir or _default_workdir(config_flags.get_config_filename(FLAGS['config']))
        modes.run(FLAGS.mode, FLAGS.config, absolute(workdir))
    except UserError as e:
        print(f'jaxgen: {e}', file=sys.stderr)
        return 2
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        print(
            f'jaxgen: cannot write {e.filename or "to the workdir"}: {e.strerror}; mend that and run the same command again',
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _parse(argv: list[str]) -> None:
    """Parses the flags.

    Raises:
      UserError: for an unknown flag or field, or a value of the wrong type.
    """
    from jaxgen.errors import UserError

    if {'--help', '-h', '-help'} & set(argv):
        argv = [*(a for a in argv if a.lstrip('-') not in ('help', 'h')), '--mode=help']
    stored = re.compile(r'^(--?config=)?((?:[^-].*/)?config\.json)$')  # of a workdir, and then its own config is meant
    argv = [stored.sub(rf'\1{STORED}:\2', a) for a in argv]
    try:
        rest = FLAGS(argv)
    except (KeyError, AttributeError) as e:  # ml_collections' words for a field that does not exist
        unknown, *near = re.findall(r'[\'"](\w+)[\'"]', str(e.args[0]).replace('\\', ''))
        argument = next((a.partition('=')[0] for a in argv if unknown in a), unknown)
        meant = f'; did you mean {near[0]}?' if near else '; jaxgen/config.py lists the fields'
        raise UserError(f'{argument}: the config has no field {unknown!r}{meant}') from e
    except (flags.Error, TypeError, ValueError) as e:
        raise UserError(' '.join(str(e).split())) from e
    path = config_flags.get_config_filename(FLAGS['config']).partition(':')[0] if FLAGS['config'].present else ''
    if path and not pathlib.Path(path).is_file():
        there = ', '.join(sorted(str(p) for p in pathlib.Path('configs').glob('*.py')))
        raise UserError(f'--config={path} is not a file; here are {there}')
    if len(rest) > 1:
        raise UserError(f'{rest[1]!r} is not a flag; flags begin with --, and --mode=help lists them')


def _default_workdir(config: str) -> str:
    path, _, variant = config.partition(':')
    if path == STORED:
        return variant.rpartition('/')[0] or '.'
    return str(pathlib.Path('runs', '-'.join(filter(None, [pathlib.Path(path).stem, re.sub(r'\W+', '_', variant)]))))


def run() -> None:
    """Run the command line of this process and exit with its code; the ``jaxgen`` command calls this."""
    sys.exit(main(sys.argv))
