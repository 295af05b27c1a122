"""The error that a user can fix, and the checks that raise it."""

from __future__ import annotations

import difflib

MANY = 12  # names that fit into a sentence
LONG = 80  # characters of a value that fit into a sentence


class UserError(ValueError):
    """One sentence that names the wrong field or file and what to do; the command line prints it and exits with code 2."""


def check(holds: bool, sentence: str) -> None:
    """Raise UserError with this sentence unless a condition holds."""
    if not holds:
        raise UserError(sentence)


def shortened(text: str) -> str:
    """Return a text for a message: on one line, with at most ``LONG`` characters."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= LONG else f'{text[:LONG]}...'


def pick(name: str, known, what: str) -> str:
    """Return ``name`` if it is one of the ``known`` names.

    Raises:
      UserError: if it is not. The message lists similar names; if there is none, all known names, or the first of many.
    """
    if name in known:
        return name
    within = [k for k in known if name and name.lower() in k.lower()]
    near = difflib.get_close_matches(name, known, n=3) or within[:3] or sorted(known)
    if len(near) > MANY:
        near = [*near[:MANY], f'another of {len(near)}']
    raise UserError(f'{what} {shortened(name)!r} does not exist; did you mean {" or ".join(near)}?')


def names(field: str) -> tuple[str, ...]:
    """Return the names in a comma-separated field."""
    return tuple(name.strip() for name in field.split(',') if name.strip())
