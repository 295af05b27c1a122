"""Parse the arguments of a command line, and load the config of ``--config`` with the fields that the arguments change."""

from __future__ import annotations

import dataclasses
import difflib
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxgen.apps import stored_config
from jaxgen.apps.config import RENAMED, RunOptions, field_names, nearest_fields, section_classes
from jaxgen.cli import config_files
from jaxgen.cli.config_files import STORED
from jaxgen.errors import UserError, shortened
from jaxgen.methods import METHODS
from jaxgen.runtime.plugins import import_plugins
from jaxgen.schema import Options, Spec, located, option, specs
from jaxgen.types import Fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommonFlags(Options):
    """The flags that all commands share."""

    config: str | None = option(
        None,
        'a config file, with :VARIANT if it has any, or the config.json of a run directory; needed if not set',
        path=True,
    )
    mode: str = option('train', 'what to do')
    workdir: str | None = option(None, 'run directory; runs/ and the name of the config if not set', path=True)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The arguments of a command line.

    Attributes:
      config: a config file, with ``:VARIANT`` if it has any, or the ``config.json`` of a run directory.
      fields: names and values of the config fields to change, in order; a value is None for a flag without a value, which
        sets a truth value to True.
      own: the values of flags that only this command has.
    """

    config: str | None = None
    mode: str = 'train'
    workdir: str | None = None
    fields: tuple[tuple[str, str | None], ...] = ()
    own: Fields = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The config fields that the command line changes, by their present names."""
        return tuple(RENAMED.get(name, name) for name, _ in self.fields)


def parse(argv: Sequence[str], own: Iterable[str] = ()) -> Arguments:
    """Return the arguments of a command line: ``--NAME=VALUE`` or ``--NAME VALUE``, in any order.

    If a config field has several values, the last one counts; any other flag can be given only once.

    Args:
      argv: the arguments without the name of the program.
      own: further flags that the command has.

    Raises:
      UserError: for an argument that is not a flag, or a flag without a value or with two different ones.
    """
    given: dict[str, str] = {}
    fields: list[tuple[str, str | None]] = []
    known, rest, wants_help = [*specs(CommonFlags), *own], list(argv), False
    while rest:
        argument = rest.pop(0)
        name, equals, text = argument.removeprefix('-').removeprefix('-').partition('=')
        if not argument.startswith('-') or not name:
            raise UserError(f'{shortened(argument)!r} is not a flag; flags begin with --, and --mode=help lists them')
        if name in ('help', 'h'):
            wants_help = True
        elif name.startswith('noconfig.'):
            if equals:
                raise UserError(f'--{shortened(name)} takes no value: it sets a truth value to False')
            fields.append((name.removeprefix('noconfig.'), 'False'))
        elif name.startswith('config.'):
            fields.append((name.removeprefix('config.'), text if equals else _next_value(rest)))
        elif name not in known:
            raise UserError(f'the flag --{shortened(name)} does not exist; did you mean {_nearest(name, known)}?')
        else:
            given[name] = _value_of_flag(name, text if equals else _next_value(rest), given)
    with located('--'):
        common = CommonFlags(**{name: text for name, text in given.items() if name in specs(CommonFlags)})
    others = {name: text for name, text in given.items() if name not in specs(CommonFlags)}
    return Arguments(common.config, 'help' if wants_help else common.mode, common.workdir, tuple(fields), others)


def _value_of_flag(name: str, value: str | None, given: Mapping[str, str]) -> str:
    if not value:
        raise UserError(f'--{name} needs a value: write --{name}=VALUE')
    if given.get(name, value) != value:
        raise UserError(
            f'--{name} is given twice, as {shortened(given[name])} and as {shortened(value)}: leave one of them out'
        )
    return value


def _next_value(rest: list[str]) -> str | None:
    """Take the value of a flag from the arguments after it; None if the next one is a flag, or there is none."""
    is_value = rest and (not rest[0].startswith('-') or re.fullmatch(r'-[\d.].*', rest[0]))
    return rest.pop(0) if is_value else None


def _nearest(name: str, known: Sequence[str]) -> str:
    """Return the flags that are most similar to one that does not exist, or else the most similar config fields."""
    flags = [f'--{flag}' for flag in known]
    fields = sorted({f'--config.{field}' for family in METHODS for field in field_names(family)})
    if f'--config.{name}' in fields:
        return f'--config.{name}'
    near = difflib.get_close_matches(f'--{name}', flags, n=1)
    if '.' in name:
        near = near or difflib.get_close_matches(f'--{name}', fields, n=1)
    ends_alike = [field for field in fields if field.rpartition('.')[2] == name.rpartition('.')[2]]
    near = near or ends_alike[:3] or difflib.get_close_matches(f'--{name}', fields, n=3)
    return ' or '.join(near or flags)


def load(arguments: Arguments) -> ConfigDict:
    """Return the draft of the config of a command line.

    Plug-ins that the command line names are imported before the config file runs.

    Raises:
      UserError: if the config cannot be loaded, a field does not exist, or a field refuses its value.
    """
    if arguments.config is None:
        raise UserError('--config=configs/NAME.py is missing; --mode=help explains')
    for name, text in arguments.fields:
        if name == 'plugins':
            import_plugins(_value('config.', specs(RunOptions)[name], text) or ())
    path, variant = split_config(arguments.config)
    draft = stored_config.draft(path) if path.name == STORED else config_files.load(path, variant)
    with located('config.'):
        plugins = specs(RunOptions)['plugins'].checked(draft.plugins)
    import_plugins(plugins or ())
    for name, text in arguments.fields:
        _set(draft, name, text)
    return draft


def split_config(config: str) -> tuple[pathlib.Path, str | None]:
    """Return the path of a ``--config``, and its variant if it has one."""
    if pathlib.Path(config).name == STORED:
        return pathlib.Path(config), None
    path, colon, variant = config.partition(':')
    return pathlib.Path(path), variant if colon else None


def default_workdir(config: str) -> str:
    """Return the run directory if ``--workdir`` is not set: runs/NAME, runs/NAME-VARIANT, or the folder of config.json."""
    path, variant = split_config(config)
    if path.name == STORED:
        return str(path.parent)
    name = '-'.join(filter(None, [path.stem, re.sub(r'\W+', '_', variant or '')]))
    return str(pathlib.Path('runs', name))


def _set(draft: ConfigDict, name: str, text: str | None) -> None:
    """Change one field of a draft to a value from the command line."""
    section, _, field = RENAMED.get(name, name).partition('.')
    classes = section_classes(draft.family)
    if section in classes and field in specs(classes[section]):
        spec = specs(classes[section])[field]
        unset = name in RENAMED and spec.optional and text == '0'  # earlier versions wrote 0 for "not set"
        draft[section][field] = None if unset else _value(f'config.{section}.', spec, text)
    elif section in specs(RunOptions) and not field:
        value = _value('config.', specs(RunOptions)[section], text)
        if section == 'family' and value != draft.family:
            raise UserError(
                f'config.family={value} does not fit the fields of the config file, which are those of {draft.family}: '
                f'choose another --config'
            )
        draft[section] = value
    else:
        raise UserError(f'--config.{shortened(name)} {nearest_fields(name, draft.family)}')


def _value(prefix: str, spec: Spec, text: str | None) -> Any:
    """Parse the value of a field; a truth value without a text is True."""
    if text is None and spec.type is bool:
        return True
    if text is None:
        raise UserError(f'--{prefix}{spec.name} needs a value: write --{prefix}{spec.name}=VALUE')
    with located(prefix):
        return spec.parsed(text)
