"""Options: frozen dataclasses whose fields have a type, a range or a list of choices, and one sentence of help.

Each part of the library declares its options next to the code that reads them. The command line derives its flags, its help and
its messages from the same declarations::

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class OptimizerOptions(Options):
        learning_rate: float = option(2e-4, 'learning rate at its peak', above=0)
        decay: str = option('none', 'how the learning rate falls', choices=('none', 'cosine'))
        decay_steps: int | None = option(None, 'step at which the decay ends; the length of the run if not set', at_least=1)

    OptimizerOptions(learning_rate=-1.0)  # OptionError: learning_rate=-1.0 must be above 0
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from jaxgen.errors import UserError, pick

Choices = Iterable[str] | Callable[[], Iterable[str]]
Sections = Mapping[str, Any]  # options by the name of their section
O = TypeVar('O', bound='Options')  # noqa: E741
Scalar = type[Any]  # bool, int, float or str
LARGEST_INT = 2**31 - 1
_SPECS: dict[type, Mapping[str, Spec]] = {}  # what ``specs`` returned before
_TRUTH = {'true': True, 't': True, '1': True, 'false': False, 'f': False, '0': False}
_LIMITS: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
    ('at_least', 'at least', lambda value, limit: value >= limit),
    ('above', 'above', lambda value, limit: value > limit),
    ('at_most', 'at most', lambda value, limit: value <= limit),
    ('below', 'below', lambda value, limit: value < limit),
)


class OptionError(UserError):
    """A value that an option cannot have.

    Attributes:
      field: the name of the option.
      reason: the rest of the sentence, which starts with the value.
    """

    def __init__(self, field: str, reason: str):
        super().__init__(f'{field}{reason}')
        self.field, self.reason = field, reason


@contextlib.contextmanager
def located(place: str) -> Iterator[None]:
    """Put the place of an argument before the message of each UserError that is raised within.

    Args:
      place: a section, as in ``config.optimizer.``, directly before the name of an option; or the field from which an argument
        of a library function comes, as in ``config.interop.path``, before any other message, which follows after a colon.
    """
    try:
        yield
    except OptionError as e:
        raise OptionError(f'{place}{e.field}', e.reason) from e
    except UserError as e:
        raise UserError(f'{place}: {e}') from e


@dataclasses.dataclass(frozen=True)
class Spec:
    """The declaration of one option.

    Attributes:
      type: bool, int, float or str: the type of the value, or of each of its elements.
      optional: whether the value may be None, which means "not set".
      many: whether the value is a tuple.
      empty: whether a tuple may be empty.
      limits: the limits that are set, by the names that ``option`` takes.
      choices: the names that exist, or None for any text.
    """

    name: str
    type: Scalar
    optional: bool
    many: bool
    default: Any
    help: str
    limits: Mapping[str, float]
    choices: Choices | None
    empty: bool

    @property
    def names(self) -> tuple[str, ...] | None:
        """The choices as they are now: a registry may have grown since the option was declared."""
        if self.choices is None:
            return None
        return tuple(self.choices() if callable(self.choices) else self.choices)

    @property
    def expected(self) -> str:
        """What a value must be, in words: ``a whole number, at least 1``."""
        one = {bool: 'True or False', int: 'a whole number', float: 'a number', str: 'a text'}[self.type]
        several = {bool: '', int: 'whole numbers', float: 'numbers', str: 'names'}[self.type]
        words = f'{several} separated by commas' if self.many else one
        if self.names is not None:
            words = ('some of ' if self.many else 'one of ') + ', '.join(self.names)
        limits = [f'{text} {_shown_limit(self.limits[name])}' for name, text, _ in _LIMITS if name in self.limits]
        return ', '.join([words, *limits]) + (', or None' if self.optional else '')

    def checked(self, value: Any) -> Any:
        """Return the value in its type (a float for 1, a tuple for a list).

        Raises:
          OptionError: if it is of another type, out of range or unknown.
        """
        if value is None and self.optional:
            return None
        if not self.many:
            return self._element(value, value)
        if not isinstance(value, tuple | list):
            raise self._error(value)
        if not value and not self.empty:
            unset = ': leave it out, or set it to None' if self.optional else ''
            raise OptionError(self.name, f' is empty, and must name at least one value{unset}')
        return tuple(self._element(element, value) for element in value)

    def parsed(self, text: str) -> Any:
        """Return the value that a text on the command line stands for.

        Raises:
          OptionError: as ``checked`` does.
        """
        if self.optional and text.strip().lower() in ('none', ''):
            return None
        if not self.many:
            return self.checked(self._parsed_element(text, text))
        parts = [part.strip() for part in text.strip().strip('()[]').split(',')]
        elements = [self._parsed_element(part, text) for part in parts if part]
        return None if self.optional and not elements else self.checked(elements)

    def _element(self, element: Any, value: Any) -> Any:
        if self.type is float and type(element) is int:
            element = _as_float(element)
        kind: Any = type(element)
        if kind is not self.type:
            raise self._error(value)
        if self.type is str:
            return self._name(element)
        if self.type is float and not math.isfinite(element):
            raise OptionError(self.name, f'={_shown(value)} must be finite')
        largest = max(LARGEST_INT, self.limits.get('at_most', 0))
        if self.type is int and abs(element) > largest:
            raise OptionError(self.name, f'={_shown(value)} is too large: it must be at most {largest}')
        self._require_limits(element, value)
        return element

    def _require_limits(self, element: float, value: Any) -> None:
        for name, text, holds in _LIMITS:
            if name not in self.limits or holds(element, self.limits[name]):
                continue
            each = ': each value' if self.many else ''
            unset = '; for none, leave it out or set it to None' if self.optional and element == 0 else ''
            raise OptionError(
                self.name, f'={_shown(value)}{each} must be {text} {_shown_limit(self.limits[name])}{unset}'
            )

    def _name(self, element: str) -> str:
        if not element.strip():
            unset = ': leave it out, or set it to None' if self.optional else ''
            raise OptionError(self.name, f' must not be empty{unset}')
        if self.names is None:
            return element
        require_one_of([element], self.names, self.name)
        return element

    def _parsed_element(self, part: str, text: str) -> Any:
        try:
            if self.type is bool:
                return _TRUTH[part.strip().lower()]
            return part.strip('\'" ') if self.type is str else self.type(part.strip())
        except (ValueError, KeyError) as e:
            raise self._error(text) from e

    def _error(self, value: Any) -> OptionError:
        return OptionError(self.name, f'={_shown(value)} must be {self.expected}')


def _as_float(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ','.join(map(str, value))
    return repr(value) if value == '' else str(value)


def _shown_limit(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f'{limit:g}'


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
) -> Any:
    """Declare a field of a class of ``Options``.

    Args:
      default: the value if none is given; None for "not set" if the type allows it.
      help: one sentence: what the option does, its unit, and what its special values mean.
      at_least: the smallest value of a number, or of each number of a tuple.
      above: a limit that each number must exceed.
      at_most: the largest value.
      below: a limit that no number may reach.
      choices: names that exist, or a function that returns them.
      empty: whether a tuple may be empty.
    """
    given = {'at_least': at_least, 'above': above, 'at_most': at_most, 'below': below}
    limits = {name: limit for name, limit in given.items() if limit is not None}
    return dataclasses.field(
        default=default, metadata={'help': help, 'limits': limits, 'choices': choices, 'empty': empty}
    )


def with_default(options: type[Options], name: str, default: Any) -> Any:
    """Declare a field of a subclass of ``options`` as its parent does, with another default."""
    (field,) = (field for field in dataclasses.fields(options) if field.name == name)
    return dataclasses.field(default=default, metadata=field.metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Base class of all options: every value is checked when an object is made."""

    def __post_init__(self) -> None:
        for name, spec in specs(type(self)).items():
            object.__setattr__(self, name, spec.checked(getattr(self, name)))
        self.check()

    def check(self) -> None:
        """Refuse values that do not go together; subclasses override it and call ``require``."""


def require(holds: bool, field: str, reason: str) -> None:
    """Raise an error about ``field`` unless a condition holds; ``reason`` continues the sentence after its name.

    Raises:
      OptionError: if the condition does not hold.
    """
    if not holds:
        raise OptionError(field, reason)


def require_one_of(names: Iterable[str], known: Iterable[str], field: str) -> None:
    """Raise an error about ``field`` unless each of its ``names`` is known; the sentence lists the nearest names.

    Raises:
      OptionError: for the first name that does not exist.
    """
    for name in names:
        try:
            pick(name, known, field)
        except UserError as e:
            raise OptionError(field, str(e).removeprefix(field)) from e


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
      UserError: if there is no such field; the sentence names the nearest.
    """
    return specs(options)[pick(name, specs(options), 'the field')]


def from_tree(options: type[O], tree: Mapping[str, Any]) -> O:
    """Return the options whose values a JSON object holds; fields that it lacks have their defaults.

    Raises:
      UserError: if it holds an unknown field or a value that is refused.
    """
    for name in tree:
        pick(name, specs(options), 'the field')
    return options(**tree)


def to_tree(options: Options) -> dict[str, Any]:
    """Return the values as a JSON object."""
    return {name: list(v) if isinstance(v := getattr(options, name), tuple) else v for name in specs(type(options))}
