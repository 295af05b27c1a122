"""The error that a user can fix, and the checks that raise it."""

from __future__ import annotations

import difflib
import reprlib
import traceback

MANY = 12  # names that fit into a sentence
LONGEST = 200  # characters of another library's message that fit into a sentence
LONG = 80  # characters of a value that fit into a sentence

_SHORTENED = reprlib.Repr()
_SHORTENED.maxstring = _SHORTENED.maxother = LONG


class UserError(ValueError):
    """An error that the user can fix: one sentence that names the wrong field or file and says what to do.

    The command line prints the sentence and exits with code 2.
    """


def check(holds: bool, sentence: str) -> None:
    """Raise UserError with this sentence unless a condition holds."""
    if not holds:
        raise UserError(sentence)


def on_one_line(text: str) -> str:
    """Return a text in which line breaks and other characters that a terminal does not print are written as escapes."""
    return text if text.isprintable() else ''.join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shortened(text: str, most: int = LONG) -> str:
    """Return a text for a message: on one line, with at most ``most`` characters."""
    text = on_one_line(text)
    return text if len(text) <= most else f'{text[:most]}...'


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if it has none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return shortened(lines[0], LONGEST)


def described(error: BaseException, file: str | None = None) -> str:
    """Return an exception on one line: the line of ``file`` where it was raised, its type, and its message.

    Args:
      error: the exception.
      file: a file that the user wrote; its line is named only if the exception passed through it.
    """
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    kind, said = type(error).__name__, reason(error)
    sentence = said if isinstance(error, UserError) or said == kind else f'{kind}: {said}'
    return f'line {lines[-1]}: {sentence}' if lines else sentence


def shown(value: object) -> str:
    """Return the ``repr`` of a value from outside, with the middle of long or deeply nested parts left out."""
    return _SHORTENED.repr(value)


def pick(name: str, known, what: str) -> str:
    """Return ``name`` if it is one of the ``known`` names.

    Raises:
      UserError: if it is not. The message lists similar names or, if there are none, the known names (the first of them if
        there are many).
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
