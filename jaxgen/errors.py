"""The error that a user can mend, and the checks that raise it."""

from __future__ import annotations

import difflib

MANY = 12  # names that a sentence can hold


class UserError(ValueError):
    """One sentence that names the field or file at fault and the way out; main.py prints it and exits with 2."""


def check(holds: bool, sentence: str) -> None:
    """Raises UserError with this sentence where something does not hold."""
    if not holds:
        raise UserError(sentence)


def pick(name: str, known, what: str) -> str:
    """``name`` if it is among the ``known`` names.

    Raises:
      UserError: if not; the sentence lists the nearest names, or all where none is near (of many, some).
    """
    if name in known:
        return name
    within = [k for k in known if name and name.lower() in k.lower()]
    near = difflib.get_close_matches(name, known, n=3) or within[:3] or sorted(known)
    if len(near) > MANY:
        near = [*near[:MANY], f'another of {len(near)}']
    raise UserError(f'{what} {name!r} does not exist; did you mean {" or ".join(near)}?')


def names(field: str) -> tuple[str, ...]:
    """The names in a comma-separated field."""
    return tuple(name.strip() for name in field.split(',') if name.strip())
