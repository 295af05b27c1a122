"""Options from the sections of a ConfigDict, in which 0, '' and () stand for "not set"."""

from __future__ import annotations

from typing import TypeVar

from ml_collections import ConfigDict

from jaxgen.errors import names
from jaxgen.schema import Options, specs

O = TypeVar('O', bound=Options)  # noqa: E741


def options_from(options: type[O], section: ConfigDict) -> O:
    """Return the options whose values a section holds; fields that it lacks have their defaults.

    Raises:
      OptionError: if a value is refused.
    """
    values = {}
    for name, spec in specs(options).items():
        if name not in section:
            continue
        value = section[name]
        if spec.many and isinstance(value, str):
            value = names(value)
        values[name] = None if spec.optional and not value else value
    return options(**values)
