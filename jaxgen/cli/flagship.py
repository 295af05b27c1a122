"""The command line of the flagship: train a model in a few minutes on one accelerator.

python -m jaxgen.cli.flagship --config=configs/ddpm_cifar.py:flagship --minutes=8 --workdir=runs/flagship

Fields of the config can be changed with --config.FIELD=VALUE.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
import time
from collections.abc import Sequence

from absl import logging

from jaxgen.apps.config import Config
from jaxgen.apps.data import load_split
from jaxgen.apps.devices import set_up
from jaxgen.apps.flagship.flagship import Budget, flagship
from jaxgen.apps.flagship.packed import pack, unpack
from jaxgen.apps.restore import build
from jaxgen.apps.rules import validate
from jaxgen.cli import flags
from jaxgen.cli.modes import MODES, require_read
from jaxgen.errors import check
from jaxgen.io.files import absolute, require_writable
from jaxgen.runtime import command_line, progress
from jaxgen.schema import Options, located, option, specs

CONFIG = 'configs/ddpm_cifar.py:flagship'
WORKDIR = 'runs/flagship'
SECTIONS = ('evaluation',)  # config sections that the flagship reads in addition to those of the model


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlagshipOptions(Options):
    """The flags that only the flagship has."""

    minutes: float = option(
        8.0, 'time from the start of the process to the end of training, in minutes', at_least=0, at_most=100_000
    )
    samples: int = option(20_000, 'number of images to sample after training', at_least=1, at_most=100_000_000)
    data: str | None = option(None, 'a folder that --pack wrote; the data set of the config if not set', path=True)
    pack: str | None = option(
        None,
        'folder to write the data set of the config to, instead of training; the flagship trains if not set',
        path=True,
    )


def parse(argv: Sequence[str]) -> tuple[flags.Arguments, FlagshipOptions]:
    """Return the arguments that all commands share, and those of the flagship.

    Args:
      argv: the arguments without the name of the program.

    Raises:
      UserError: for an argument that is not a flag, or a value that its flag refuses.
    """
    declared = specs(FlagshipOptions)
    arguments = flags.parse(argv, own=declared)
    with located('--'):
        options = FlagshipOptions(**{name: declared[name].parsed(text) for name, text in arguments.own.items()})
    config, workdir = arguments.config or CONFIG, arguments.workdir or WORKDIR
    return dataclasses.replace(arguments, config=config, workdir=workdir), options


def main(argv: list[str]) -> int:
    """Run a command line, and return its exit code, as ``jaxgen.runtime.command_line`` explains it.

    Args:
      argv: the name of the program, then its arguments.
    """
    start = time.monotonic()
    logging.set_verbosity(logging.FATAL)

    def run(arguments: Sequence[str], surroundings: command_line.Surroundings) -> None:
        with progress.shown(), progress.Stage('starting', announces=False, sums_up=False):
            _run(*parse(arguments), start, surroundings)

    return command_line.run(run, argv)


def _help() -> str:
    lines = [__doc__.strip(), '']
    for name, spec in specs(FlagshipOptions).items():
        lines += [f'  --{name}={spec.default}', f'      {spec.help} [{spec.expected}]']
    return '\n'.join([*lines, f'--config is {CONFIG} and --workdir is {WORKDIR} if not given.'])


def _run(
    arguments: flags.Arguments, options: FlagshipOptions, start: float, surroundings: command_line.Surroundings
) -> None:
    if arguments.mode == 'help':
        print(_help())
        return
    check(arguments.mode == 'train', f'--mode={arguments.mode} is not one of the flagship: leave it out')
    require_read('train', arguments.names)
    workdir = absolute(arguments.workdir or WORKDIR)
    surroundings.folder, surroundings.batch_sizes = pathlib.Path(workdir), MODES['train'].batch_sizes
    config = Config.from_tree(flags.load(arguments).to_dict(), SECTIONS)
    validate(config)
    load_data = functools.partial(load_split, config, 'train', max_examples=config.data.max_examples)
    if options.pack is not None:
        pack(load_data(), pathlib.Path(options.pack))
        return
    require_writable(workdir, '--workdir')
    set_up(config)
    method, class_names = build(config, workdir)
    packed = options.data and pathlib.Path(options.data)
    dataset = unpack(packed, class_names, method.image_shape) if packed else load_data()
    flagship(config, workdir, dataset, Budget(options.minutes, start, samples=options.samples))


if __name__ == '__main__':
    command_line.leave(main(sys.argv))
