"""The command line of the flagship: train a model in a few minutes on one accelerator.

python -m jaxgen.cli.flagship --config=configs/ddpm_cifar.py:flagship --minutes=8 --workdir=runs/flagship

Fields of the config can be changed with --config.FIELD=VALUE.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import pathlib
import sys
import time

from absl import logging

from jaxgen.apps.config import Config
from jaxgen.apps.devices import set_up
from jaxgen.apps.evaluate.evaluator import load_options
from jaxgen.apps.flagship.flagship import Budget, flagship
from jaxgen.apps.flagship.packed import pack, unpack
from jaxgen.apps.restore import build
from jaxgen.apps.rules import validate
from jaxgen.cli import flags
from jaxgen.data import load
from jaxgen.errors import UserError
from jaxgen.io.files import absolute
from jaxgen.schema import Options, located, option, specs

CONFIG = 'configs/ddpm_cifar.py:flagship'
WORKDIR = 'runs/flagship'
SECTIONS = ('evaluation',)  # of the config, besides those of the model


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlagshipOptions(Options):
    """The flags of the flagship's own."""

    minutes: float = option(8.0, 'time from the start of the process to the end of training, in minutes', at_least=0)
    samples: int = option(20_000, 'number of images to sample after training', at_least=1)
    data: str | None = option(None, 'a folder that --pack wrote; the data set of the config if not set')
    pack: str | None = option(None, 'write the data set of the config into this folder, and end')


def parse(argv: list[str]) -> tuple[flags.Arguments, FlagshipOptions]:
    """Return the arguments that all commands share, and the flagship's own.

    Args:
      argv: the arguments without the name of the program.

    Raises:
      UserError: for an argument that is no flag, or a value that is refused.
    """
    declared = specs(FlagshipOptions)
    parser = argparse.ArgumentParser(
        prog='python -m jaxgen.cli.flagship',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog=f'--config is {CONFIG} and --workdir is {WORKDIR} if not given.',
    )
    for name, spec in declared.items():
        parser.add_argument(f'--{name}', help=f'{spec.help} (default: {spec.default})')
    own, others = parser.parse_known_args(argv)
    with located('--'):
        given = {name: declared[name].parsed(text) for name, text in vars(own).items() if text is not None}
        options = FlagshipOptions(**given)
    arguments = flags.parse(others)
    return dataclasses.replace(
        arguments, config=arguments.config or CONFIG, workdir=arguments.workdir or WORKDIR
    ), options


def main(argv: list[str]) -> int:
    """Run a command line, and return its exit code: 2 for what the user can fix.

    Args:
      argv: the name of the program, then its arguments.
    """
    start = time.monotonic()
    logging.set_verbosity(logging.FATAL)
    try:
        _run(*parse(argv[1:]), start)
    except UserError as e:
        print(f'jaxgen: {e}', file=sys.stderr)
        return 2
    return 0


def _run(arguments: flags.Arguments, options: FlagshipOptions, start: float) -> None:
    config = Config.from_tree(flags.load(arguments).to_dict(), SECTIONS)
    validate(config)
    data = config.data
    load_data = functools.partial(load, data.name, 'train', max_examples=data.max_examples, **load_options(config))
    if options.pack is not None:
        pack(load_data(), pathlib.Path(options.pack))
        return
    set_up(config)
    workdir = absolute(arguments.workdir)
    _, class_names = build(config, workdir)
    dataset = load_data() if options.data is None else unpack(pathlib.Path(options.data), class_names)
    flagship(config, workdir, dataset, Budget(options.minutes, start, samples=options.samples))


if __name__ == '__main__':
    sys.exit(main(sys.argv))
