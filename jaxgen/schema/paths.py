"""Paths as users write them."""

from __future__ import annotations

import os

from jaxgen.errors import UserError, shortened

LONGEST_NAME, LONGEST_PATH = 255, 4096  # in bytes, on Linux


def expanded(path: str | os.PathLike) -> str:
    """Replace a leading ``~`` or ``~user`` of a path by the home directory; leave other paths as they are.

    Args:
      path: a path on a disk or in a bucket, or a name that stands for something else, as in ``cifar10:test``.

    Raises:
      UserError: (naming the path) if there is no such user, or the path is longer than a path can be.
    """
    text = os.fspath(path)
    if '://' in text:
        return text
    found = os.path.expanduser(text)
    if found.startswith('~'):
        user = found.partition('/')[0]
        name = shortened(user.removeprefix('~'))
        raise UserError(f'{shortened(text)}: there is no user {name!r} here; write the whole path, or put ./ before it')
    sizes = [len(os.fsencode(part)) for part in found.split('/')]
    if max(sizes) > LONGEST_NAME or sum(sizes) + len(sizes) > LONGEST_PATH:
        raise UserError(
            f'{shortened(text)} is longer than a path can be: {LONGEST_NAME} bytes a name, and {LONGEST_PATH} in all'
        )
    return found
