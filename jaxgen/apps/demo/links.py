"""Links to a grid of samples: the address of the page with a model, classes, a seed and settings."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import NamedTuple

from jaxgen.apps.demo import inputs
from jaxgen.errors import UserError, shortened
from jaxgen.types import JsonObject

NUMBERS = {'steps': int, 'guidance': float, 'eta': float, 'seed': int, 'images': int}
NAMES = ('model', 'sampler')
CLASS = 'class'  # the parameter of a class, which a link has once for each class


class Linked(NamedTuple):
    """The values in a link.

    Attributes:
      asked: the values, which have been checked.
      given: the names of the values in the link; the others are those of the model's config.
    """

    asked: inputs.Inputs
    given: frozenset[str]


def write(asked: inputs.Inputs) -> str:
    """Return a link to a grid, relative to the page."""
    values = [(name, getattr(asked, name)) for name in (*NAMES, *NUMBERS)]
    values += [(CLASS, name) for name in asked.classes or ()]
    return '?' + urllib.parse.urlencode([(name, value) for name, value in values if value is not None])


def read(query: str) -> Linked | None:
    """Return the values in a link; None if it names no model, like the plain address of the page.

    Args:
      query: the part of the address after the question mark.

    Raises:
      UserError: if the page does not offer one of the values, which the message names.
    """
    found: Mapping[str, list[str]] = urllib.parse.parse_qs(query[: inputs.MAX_CHARACTERS])
    if 'model' not in found:
        return None
    given: JsonObject = {name: found[name][0] for name in NAMES if name in found}
    for name, kind in NUMBERS.items():
        if name in found:
            given[name] = _number(name, found[name][0], kind)
    if CLASS in found:
        given['classes'] = found[CLASS]
    return Linked(inputs.read(**given), frozenset(given))


def _number(name: str, written: str, kind: type[int] | type[float]) -> int | float:
    try:
        return kind(written)
    except ValueError:
        raise UserError(f'{name}={shortened(written)} in the link is not a number: make the link again') from None
