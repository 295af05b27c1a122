"""The declaration of one option, and the values that it accepts."""

from __future__ import annotations

import dataclasses
import math
import struct
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jaxgen.errors import UserError, shortened
from jaxgen.schema.paths import expanded
from jaxgen.schema.refusals import OptionError, require_one_of

Choices = Iterable[str] | Callable[[], Iterable[str]]
Scalar = type[Any]  # bool, int, float or str
LARGEST_INT = 2**31 - 1
LONGEST_TEXT = 10_000  # characters
MOST_VALUES = 1000  # elements of a tuple
_TRUTH = {'true': True, 't': True, '1': True, 'false': False, 'f': False, '0': False}
_LIMITS: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
    ('at_least', 'at least', lambda value, limit: value >= limit),
    ('above', 'above', lambda value, limit: value > limit),
    ('at_most', 'at most', lambda value, limit: value <= limit),
    ('below', 'below', lambda value, limit: value < limit),
)


@dataclasses.dataclass(frozen=True)
class Spec:
    """The declaration of one option.

    Attributes:
      type: bool, int, float or str: the type of the value, or of each of its elements.
      optional: whether the value may be None, which means "not set".
      many: whether the value is a tuple.
      empty: whether a tuple may be empty.
      limits: the limits that are set, by the names of the arguments of ``option``.
      choices: the allowed names, or None for any text.
      path: whether the value is a path, in which a leading ``~`` means the home directory.
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
    path: bool

    @property
    def names(self) -> tuple[str, ...] | None:
        """The allowed names at this moment: a registry may have grown since the option was declared."""
        if self.choices is None:
            return None
        return tuple(self.choices() if callable(self.choices) else self.choices)

    @property
    def expected(self) -> str:
        """The accepted values in words, as in ``a whole number, at least 1``."""
        one = {bool: 'True or False', int: 'a whole number', float: 'a number', str: 'a text'}[self.type]
        several = {bool: '', int: 'whole numbers', float: 'numbers', str: 'names'}[self.type]
        words = f'{several} separated by commas' if self.many else one
        if self.names is not None:
            words = ('some of ' if self.many else 'one of ') + ', '.join(self.names)
        limits = [f'{text} {_shown_limit(self.limits[name])}' for name, text, _ in _LIMITS if name in self.limits]
        return ', '.join([words, *limits]) + (', or None' if self.optional else '')

    def checked(self, value: Any) -> Any:
        """Return the value in the type of the option: a float for 1, a tuple for a list, a path with ``~`` replaced.

        Raises:
          OptionError: if the value is of another type, out of range or unknown.
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
        if len(value) > MOST_VALUES:
            raise OptionError(self.name, f' has {len(value):,} values, and must have at most {MOST_VALUES:,}')
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
        parts = _parts(text)
        if '' in parts:
            raise self._error(text)
        elements = [self._parsed_element(part, text) for part in parts]
        return None if self.optional and not elements else self.checked(elements)

    def _element(self, element: Any, value: Any) -> Any:
        if self.type is float and type(element) is int:
            element = _as_float(element)
        kind: Any = type(element)
        if kind is not self.type:
            raise self._error(value)
        if self.type is str:
            return self._text(element)
        return element if self.type is bool else self._number(element, value)

    def _number(self, element: float, value: Any) -> float:
        """Return a number that is within the limits, also when devices round it to 32 bits; -0 becomes 0."""
        if self.type is int:
            largest = max(LARGEST_INT, self.limits.get('at_most', 0))
            if abs(element) > largest:
                largest = self.limits.get('at_most', LARGEST_INT)
                raise OptionError(self.name, f'={_shown(value)} is too large: it must be at most {largest}')
            self._require_limits(element, value, _LIMITS)
            return element
        if not math.isfinite(element):
            raise OptionError(self.name, f'={_shown(value)} must be finite')
        self._require_limits(element, value, _LIMITS)
        single = _in_32_bits(element)
        if not math.isfinite(single):
            raise OptionError(self.name, f'={_shown(value)} is too large for a number of 32 bits')
        strict = [limit for limit in _LIMITS if limit[0] in ('above', 'below')]
        self._require_limits(single, value, strict, f', and is {single:g} in the 32 bits of a float32')
        return element + 0.0

    def _require_limits(self, element: float, value: float, limits: Iterable[tuple], remark: str = '') -> None:
        for name, text, holds in limits:
            if name not in self.limits or holds(element, self.limits[name]):
                continue
            each = ': each value' if self.many else ''
            unset = '; for none, leave it out or set it to None' if self.optional and element == 0 else ''
            raise OptionError(
                self.name, f'={_shown(value)}{each} must be {text} {_shown_limit(self.limits[name])}{remark}{unset}'
            )

    def _text(self, element: str) -> str:
        """Return a text if files and terminals can show its characters and, where there are choices, it is one of them."""
        if not element.strip():
            unset = ': leave it out, or set it to None' if self.optional else ''
            raise OptionError(self.name, f' must not be empty{unset}')
        if len(element) > LONGEST_TEXT:
            raise OptionError(self.name, f'={_shown(element)} is longer than {LONGEST_TEXT:,} characters')
        allowed = '' if self.path else '\n\t'
        if any(unicodedata.category(c) in ('Cc', 'Cs') and c not in allowed for c in element):
            raise OptionError(self.name, f'={_shown(element)} has characters that are not text: write it in UTF-8')
        if self.names is not None:
            require_one_of([element], self.names, self.name)
        try:
            return expanded(element) if self.path else element
        except UserError as e:
            raise OptionError(self.name, f'={e}') from e

    def _parsed_element(self, part: str, text: str) -> Any:
        try:
            if self.type is str:
                return part.strip('\'" ')
            if not part.isascii():  # Python reads the digits of all scripts
                raise self._error(text)
            return _TRUTH[part.strip().lower()] if self.type is bool else self.type(part.strip())
        except OptionError:
            raise
        except (ValueError, KeyError) as e:
            raise self._error(text) from e

    def _error(self, value: object) -> OptionError:
        return OptionError(self.name, f'={_shown(value)} must be {self.expected}')


def _parts(text: str) -> list[str]:
    """Return the parts of a text between commas, without a pair of brackets around it and a comma at its end."""
    text = text.strip()
    if text[:1] + text[-1:] in ('()', '[]'):
        text = text[1:-1]
    parts = [part.strip() for part in text.split(',')]
    return parts if parts[-1] else parts[:-1]


def _as_float(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _in_32_bits(number: float) -> float:
    try:
        return struct.unpack('f', struct.pack('f', number))[0]
    except OverflowError:
        return math.inf


def _shown(value: object) -> str:
    """Return a value for a message: as it would be written, on one line and not too long."""
    try:
        text = ','.join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    except ValueError:  # Python refuses to write integers of more than 4,300 digits
        text = 'a number of thousands of digits'
    return shortened(text) if text.strip() else repr(value)


def _shown_limit(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f'{limit:g}'
