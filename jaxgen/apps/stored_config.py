"""Read the config.json of a run directory, written by this version or by an earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps.config import RENAMED, Config, RunOptions, base, section_classes
from jaxgen.errors import UserError, check, names
from jaxgen.io.files import read_object
from jaxgen.io.run_directory import CONFIG, read_config
from jaxgen.methods import METHODS
from jaxgen.runtime.plugins import import_plugins
from jaxgen.schema import OptionError, Spec, specs
from jaxgen.types import Fields, JsonObject

A_CONFIG = f'the {CONFIG} of a run directory'
FORMER_DEFAULTS = {'sample.name': 'samples'}  # former default values of fields that are no longer set by default
REMEDY = f'correct it, or bring back the {CONFIG} with which the run was trained'


def read(path: epath.PathLike, sections: Iterable[str] = ()) -> Config:
    """Return the config of a ``config.json`` without the path of an import; see ``Config.from_tree``.

    Raises:
      UserError: if the file is not a config, or this version refuses a value in it.
    """
    return Config.from_tree(_tree(path, str(path)), sections)


def draft(path: epath.PathLike) -> ConfigDict:
    """Return the config of a ``config.json`` as a draft that a command line can change.

    Raises:
      UserError: if the file is not a config.
    """
    tree = _tree(path, f'--config={path}')
    found = base(tree['family'])
    found.update(tree)
    return found


def read_run(workdir: epath.Path) -> JsonObject | None:
    """Return the modernised config of a run directory, or None if it has no config.

    Raises:
      UserError: if the file is not a config.
    """
    tree = read_config(workdir)
    return None if tree is None else modernised(tree, str(workdir / CONFIG))


def modernised(tree: Fields, where: str = CONFIG) -> JsonObject:
    """Return the content of a ``config.json`` in the form that this version writes.

    Earlier versions wrote 0, '' and [] for fields that were not set, and several names as one text with commas. Fields that no
    longer exist are left out.

    Args:
      tree: the content of the file.
      where: the name of the file in messages.

    Raises:
      UserError: if it is not a config, or a section or the value of a field has the wrong type.
    """
    plugins = specs(RunOptions)['plugins']
    import_plugins(_typed(tree.get('plugins'), plugins, f'{where}: config.plugins') or ())
    family = tree.get('family')
    if not isinstance(family, str) or family not in METHODS:
        raise UserError(
            f'{where} is not {A_CONFIG} (family={_short(family)}); if jaxgen.Trainer wrote it without a config, use '
            f'Trainer.sample'
        )
    known: dict[str, Mapping[str, Spec]] = {name: {'': spec} for name, spec in specs(RunOptions).items()}
    known |= {section: specs(options) for section, options in section_classes(family).items()}
    found: JsonObject = {}
    for old, value in _fields(tree, known, where):
        section, _, field = RENAMED.get(old, old).partition('.')
        if field not in known.get(section, {}):
            continue
        value = None if FORMER_DEFAULTS.get(old) == value else value
        value = _typed(value, known[section][field], f'{where}: config.{RENAMED.get(old, old)}')
        if field:
            found.setdefault(section, {})[field] = value
        else:
            found[section] = value
    return found


def _fields(tree: Fields, known: Mapping[str, Mapping[str, Spec]], where: str) -> Iterator[tuple[str, object]]:
    """Yield the values of a config by their dotted names.

    Raises:
      UserError: if a section is not an object, or an object is in the place of a value.
    """
    for name, value in tree.items():
        is_section = name in known and '' not in known[name]
        if isinstance(value, Mapping):
            check(name not in known or is_section, f'{where}: config.{name} is an object and must be a value: {REMEDY}')
            yield from ((f'{name}.{field}', of_field) for field, of_field in value.items())
        else:
            is_old = name in RENAMED and (value is None or isinstance(value, str))
            check(
                not is_section or is_old,
                f'{where}: config.{name} is {_short(value)} and must be an object with the fields of that section: {REMEDY}',
            )
            yield name, value


def _tree(path: epath.PathLike, name: str) -> JsonObject:
    """Return the modernised content of a file; ``name`` is its name in messages."""
    tree = modernised(read_object(path, A_CONFIG, REMEDY, name), name)
    tree.get('interop', {}).pop('path', None)
    return tree


def _typed(value: object, spec: Spec, name: str) -> Any:
    """Return a value in the form that this version writes.

    Raises:
      UserError: if it does not have the type of its field.
    """
    value = _modern(value, spec)
    if value is None:
        fits = spec.optional
    elif spec.many:
        fits = isinstance(value, tuple) and all(_has_type(element, spec) for element in value)
    else:
        fits = _has_type(value, spec)
    check(fits, f'{name} is {_short(value)} and must be {spec.expected}: {REMEDY}')
    return value


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f'{shown[:60]}...'


def _has_type(value: object, spec: Spec) -> bool:
    return type(value) is spec.type or (spec.type is float and type(value) is int)


def _modern(value: Any, spec: Spec) -> Any:
    if spec.many and isinstance(value, str):
        value = names(value)
    if isinstance(value, list):
        value = tuple(value)
    if value or not spec.optional:
        return value
    try:
        return spec.checked(value)  # 0 may be a proper value of the field
    except OptionError:
        return None
