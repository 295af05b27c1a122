"""The command line: its arguments, the config that ``--config`` names, and the fields that are changed on top of it."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import pathlib
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from jaxgen.apps import stored_config
from jaxgen.apps.config import RENAMED, RunOptions, import_plugins, nearest_fields, section_classes
from jaxgen.errors import UserError, pick
from jaxgen.schema import Spec, located, specs

FLAGS = ('config', 'mode', 'workdir')
STORED = 'config.json'  # the config of a run directory


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The arguments of a command line.

    Attributes:
      config: a config file, with ``:VARIANT`` if it has any, or the ``config.json`` of a run directory.
      fields: names and values of the fields of the config to change, in their order; a value is None for a name alone,
        which sets a truth value to True.
    """

    config: str | None = None
    mode: str = 'train'
    workdir: str | None = None
    fields: tuple[tuple[str, str | None], ...] = ()


def parse(argv: Sequence[str]) -> Arguments:
    """Return the arguments of a command line: ``--NAME=VALUE`` or ``--NAME VALUE``, in any order.

    Args:
      argv: the arguments without the name of the program.

    Raises:
      UserError: for an argument that is no flag, or a flag without a value.
    """
    given: dict[str, str] = {}
    fields: list[tuple[str, str | None]] = []
    rest, wants_help = list(argv), False
    while rest:
        argument = rest.pop(0)
        if not argument.startswith('-'):
            raise UserError(f'{argument!r} is not a flag; flags begin with --, and --mode=help lists them')
        name, equals, text = argument.removeprefix('-').removeprefix('-').partition('=')
        if name in ('help', 'h'):
            wants_help = True
        elif name.startswith('noconfig.'):
            fields.append((name.removeprefix('noconfig.'), 'False'))
        elif name.startswith('config.'):
            fields.append((name.removeprefix('config.'), text if equals else _next_value(rest)))
        else:
            value = text if equals else _next_value(rest)
            pick(name, FLAGS, 'the flag')
            if not value:
                raise UserError(f'--{name} needs a value: write --{name}=VALUE')
            given[name] = value
    if wants_help:
        given['mode'] = 'help'
    return Arguments(fields=tuple(fields), **given)


def _next_value(rest: list[str]) -> str | None:
    """Take the value of a flag from the arguments after it; None if the next one is a flag, or there is none."""
    is_value = rest and (not rest[0].startswith('-') or re.fullmatch(r'-[\d.].*', rest[0]))
    return rest.pop(0) if is_value else None


def load(arguments: Arguments) -> ConfigDict:
    """Return the draft of the config that a command line asks for.

    Plug-ins that the command line names are imported before the config file runs.

    Raises:
      UserError: if the config cannot be loaded, a field does not exist, or a value is not one of its field.
    """
    if arguments.config is None:
        raise UserError('--config=configs/NAME.py is missing; --mode=help explains')
    for name, text in arguments.fields:
        if name == 'plugins':
            import_plugins(_value('config.', specs(RunOptions)[name], text) or ())
    path, variant = split_config(arguments.config)
    draft = stored_config.draft(path) if path.name == STORED else _from_file(path, variant)
    import_plugins(draft.plugins or ())
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
    """Return the run directory of a config without ``--workdir``: runs/NAME, runs/NAME-VARIANT, or that of config.json."""
    path, variant = split_config(config)
    if path.name == STORED:
        return str(path.parent)
    name = '-'.join(filter(None, [path.stem, re.sub(r'\W+', '_', variant or '')]))
    return str(pathlib.Path('runs', name))


def _from_file(path: pathlib.Path, variant: str | None) -> ConfigDict:
    if not path.is_file():
        there = ', '.join(sorted(str(p) for p in pathlib.Path('configs').glob('*.py')))
        raise UserError(f'--config={path} is not a file; here are {there}')
    try:
        module = _run(path)
        get_config = getattr(module, 'get_config', None)
        if get_config is None:
            raise UserError(f'--config={path} has no function get_config')
        if variant is not None and not inspect.signature(get_config).parameters:
            raise UserError(f'--config={path} has no variants: leave out :{variant}')
        draft = get_config() if variant is None else get_config(variant)
    except (KeyError, AttributeError) as e:
        unknown = re.search(r'Key "(\w+)" does not exist|Did you mean "\w+" instead of "(\w+)"', str(e))
        if unknown is None:
            raise
        name = unknown[1] or unknown[2]
        raise UserError(f'{path}: the field {name} {nearest_fields(name, "ddpm")}') from e
    if not isinstance(draft, ConfigDict):
        raise UserError(f'--config={path}: get_config must return the config that config.base made')
    return draft


def _run(path: pathlib.Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location('config_file', path)
    if spec is None or spec.loader is None:
        raise UserError(f'--config={path} is not a Python file')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _set(draft: ConfigDict, name: str, text: str | None) -> None:
    """Change one field of a draft to the value that a text on the command line stands for."""
    section, _, field = RENAMED.get(name, name).partition('.')
    classes = section_classes(draft.family)
    if section in classes and field in specs(classes[section]):
        spec = specs(classes[section])[field]
        unset = name in RENAMED and spec.optional and text == '0'  # as earlier versions wrote it
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
        raise UserError(f'--config.{name} {nearest_fields(name, draft.family)}')


def _value(prefix: str, spec: Spec, text: str | None) -> Any:
    """Return the value of a text, or True for a truth value whose name stands alone."""
    if text is None and spec.type is bool:
        return True
    if text is None:
        raise UserError(f'--{prefix}{spec.name} needs a value: write --{prefix}{spec.name}=VALUE')
    with located(prefix):
        return spec.parsed(text)
