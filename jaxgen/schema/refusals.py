"""The error for a value that an option cannot have, and the checks that raise it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from jaxgen.errors import UserError, pick


class OptionError(UserError):
    """A value that an option cannot have.

    Attributes:
      field: the name of the option.
      reason: the rest of the message, which starts with the value.
    """

    def __init__(self, field: str, reason: str):
        super().__init__(f'{field}{reason}')
        self.field, self.reason = field, reason


@contextlib.contextmanager
def located(place: str) -> Iterator[None]:
    """Put ``place`` before the message of each UserError that is raised in the block.

    Args:
      place: a section, as in ``config.optimizer.``, which is put directly before the name of an option; or the field from
        which an argument of a library function comes, as in ``config.interop.path``, which is put before any other message
        with a colon.
    """
    try:
        yield
    except OptionError as e:
        raise OptionError(f'{place}{e.field}', e.reason) from e
    except UserError as e:
        raise UserError(f'{place}: {e}') from e


def require(holds: bool, field: str, reason: str) -> None:
    """Raise an error about ``field`` unless a condition holds; ``reason`` continues the sentence after its name.

    Raises:
      OptionError: if the condition does not hold.
    """
    if not holds:
        raise OptionError(field, reason)


def require_one_of(names: Iterable[str], known: Iterable[str], field: str) -> None:
    """Raise an error about ``field`` unless each of its ``names`` is known; the message lists similar names.

    Raises:
      OptionError: for the first name that does not exist.
    """
    for name in names:
        try:
            pick(name, known, field)
        except UserError as e:
            raise OptionError(field, str(e).removeprefix(field)) from e
