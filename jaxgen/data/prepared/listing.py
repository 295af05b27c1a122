"""The files of a source before they are read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from jaxgen.errors import UserError

Key = str | tuple[int, int] | tuple[str, int]  # names one file to a reader; each kind of reader has keys of its own
Records = Any  # a split of TFDS or of the Hub
TRAIN, TEST, BY_HASH = 0, 1, -1  # the split of a file; BY_HASH: decided by a hash of its content


class Reader(Protocol):
    """Reads files of a source. It is sent to other processes, and opens there what it needs."""

    def read(self, keys: Sequence) -> Iterator[bytes | UserError]:
        """Yield the bytes of each file, or why it cannot be read."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files of a source, in their order.

    Attributes:
      names: the name of each file, for people.
      keys: what the reader takes for each file.
      reader: reads the files.
      labels: the class of each file, int32 ``[N]``.
      class_names: the name of each class.
      splits: ``TRAIN``, ``TEST`` or ``BY_HASH`` for each file, int8 ``[N]``.
      stamp: a text that changes when a file is added, removed or changed.
      image_size: side of the images in pixels, if the source knows it.
      channels: 1 or 3, if the source knows it.
      notes: sentences for the user.
    """

    names: Sequence[str]
    keys: Sequence[Key]
    reader: Reader
    labels: np.ndarray
    class_names: tuple[str, ...]
    splits: np.ndarray
    stamp: str
    image_size: int | None = None
    channels: int | None = None
    notes: tuple[str, ...] = ()


def natural_order(names: Iterable[str]) -> list[str]:
    """Return paths sorted by their parts, numbers in them by value: ``img2.png`` stands before ``img10.png``.

    Example:
      >>> natural_order(['b/1.png', 'a10.png', 'a9.png'])
      ['a9.png', 'a10.png', 'b/1.png']
    """

    def key(name: str) -> list[list[tuple[bool, int, str]]]:
        parts = [re.split('([0-9]+)', part) for part in name.split('/')]
        return [
            [(not p.isascii() or not p.isdigit(), int(p) if p.isdigit() and p.isascii() else 0, p) for p in q]
            for q in parts
        ]

    return sorted(names, key=key)
