"""Classes of options: how they are declared, read and written."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from jaxgen.errors import pick
from jaxgen.schema.spec import Choices, Spec

Sections = Mapping[str, Any]  # options by the name of their section
O = TypeVar('O', bound='Options')  # noqa: E741
_SPECS: dict[type, Mapping[str, Spec]] = {}  # cache of ``specs``


def option(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: Choices | None = None,
    empty: bool = False,
    path: bool = False,
) -> Any:
    """Declare a field of a class of ``Options``.

    Args:
      default: the value if none is given; None for "not set" if the type allows it.
      help: one sentence that says what the option does, its unit, and what its special values mean.
      at_least: the smallest value of a number, or of each number of a tuple.
      above: a limit that each number must exceed.
      at_most: the largest value.
      below: a limit that no number may reach.
      choices: the allowed names, or a function that returns them.
      empty: whether a tuple may be empty.
      path: whether the value is a path, in which a leading ``~`` means the home directory.
    """
    given = {'at_least': at_least, 'above': above, 'at_most': at_most, 'below': below}
    limits = {name: limit for name, limit in given.items() if limit is not None}
    metadata = {'help': help, 'limits': limits, 'choices': choices, 'empty': empty, 'path': path}
    return dataclasses.field(default=default, metadata=metadata)


def with_default(options: type[Options], name: str, default: object) -> Any:
    """Declare a field of a subclass of ``options`` as its parent does, with another default."""
    (field,) = (field for field in dataclasses.fields(options) if field.name == name)
    return dataclasses.field(default=default, metadata=field.metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """A base class for all options, which checks every value when an object is made."""

    def __post_init__(self) -> None:
        for name, spec in specs(type(self)).items():
            object.__setattr__(self, name, spec.checked(getattr(self, name)))
        self.check()

    def check(self) -> None:
        """Refuse values that do not go together; subclasses override it and call ``require``."""


def specs(options: type[Options]) -> Mapping[str, Spec]:
    """Return the declarations of all fields of a class of options, by name."""
    if options not in _SPECS:
        _SPECS[options] = _read_specs(options)
    return _SPECS[options]


def _read_specs(options: type[Options]) -> Mapping[str, Spec]:
    hints = typing.get_type_hints(options)
    found = {}
    for field in dataclasses.fields(options):
        hint, optional, many = hints[field.name], False, False
        if isinstance(hint, types.UnionType):
            (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
            optional = True
        if typing.get_origin(hint) is tuple:
            hint, many = typing.get_args(hint)[0], True
        found[field.name] = Spec(
            field.name, hint, optional, many, field.default, **{key: field.metadata[key] for key in field.metadata}
        )
    return types.MappingProxyType(found)


def spec(options: type[Options], name: str) -> Spec:
    """Return the declaration of one field.

    Raises:
      UserError: if there is no such field; the message names similar fields.
    """
    return specs(options)[pick(name, specs(options), 'the field')]


def from_tree(options: type[O], tree: Mapping[str, Any]) -> O:
    """Return the options with the values in a JSON object; fields that are missing have their defaults.

    Raises:
      UserError: if the object has an unknown field, or a value that is refused.
    """
    for name in tree:
        pick(name, specs(options), 'the field')
    return options(**tree)


def to_tree(options: Options) -> dict[str, Any]:
    """Return the values as a JSON object."""
    return {name: list(v) if isinstance(v := getattr(options, name), tuple) else v for name in specs(type(options))}
