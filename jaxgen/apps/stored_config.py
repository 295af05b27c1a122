"""The config.json of a run directory, written by this version or by an earlier one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps.config import RENAMED, Config, RunOptions, base, section_classes
from jaxgen.apps.same_run import flatten
from jaxgen.errors import UserError, names
from jaxgen.methods import METHODS
from jaxgen.runtime.plugins import import_plugins
from jaxgen.schema import OptionError, Spec, specs
from jaxgen.types import Fields, JsonObject


def read(path: epath.PathLike, sections: Iterable[str] = ()) -> Config:
    """Return the config of a ``config.json``; see ``Config.from_tree``. The path of an import is not kept.

    Raises:
      UserError: if the file is not a config, or has a value that this version refuses.
    """
    return Config.from_tree(_tree(path, str(path)), sections)


def draft(path: epath.PathLike) -> ConfigDict:
    """Return the same as a draft, for a command line to change.

    Raises:
      UserError: if the file is not a config.
    """
    tree = _tree(path, f'--config={path}')
    found = base(tree['family'])
    found.update(tree)
    return found


def modernised(tree: Fields) -> JsonObject:
    """Return what a ``config.json`` holds as this version writes it.

    Earlier versions wrote 0, '' and [] where a field was not set, names separated by commas as one text, and had fields
    that do not exist any more, which are left out.

    Raises:
      ValueError: if it is not a config.
    """
    import_plugins(tree.get('plugins') or ())
    family = tree.get('family')
    if family not in METHODS:
        raise ValueError(f'family={family}')
    known: dict[str, Mapping[str, Spec]] = {name: {'': spec} for name, spec in specs(RunOptions).items()}
    known |= {section: specs(options) for section, options in section_classes(family).items()}
    found: JsonObject = {}
    for old, value in flatten(tree).items():
        section, _, field = RENAMED.get(old, old).partition('.')
        if field not in known.get(section, {}):
            continue
        spec = known[section][field]
        if field:
            found.setdefault(section, {})[field] = _modern(value, spec)
        else:
            found[section] = _modern(value, spec)
    return found


def _tree(path: epath.PathLike, name: str) -> JsonObject:
    """Return the modernised content of a file, which messages call ``name``."""
    try:
        tree = modernised(json.loads(epath.Path(path).read_text()))
    except OSError as e:
        raise UserError(f'{name} cannot be read ({e.strerror})') from e
    except UserError:
        raise
    except (ValueError, AttributeError) as e:
        raise UserError(
            f'{name} is not the config.json of a run directory; if jaxgen.Trainer wrote it without a config, use Trainer.sample'
        ) from e
    tree.get('interop', {}).pop('path', None)
    return tree


def _modern(value: Any, spec: Spec) -> Any:
    if spec.many and isinstance(value, str):
        value = names(value)
    if isinstance(value, list):
        value = tuple(value)
    if value or not spec.optional:
        return value
    try:
        return spec.checked(value)  # 0 may be a value of its own
    except OptionError:
        return None
