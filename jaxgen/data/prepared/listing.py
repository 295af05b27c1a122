"""The files of a source before they are read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from jaxgen.errors import UserError

Key = str | tuple[int, int] | tuple[str, int]  # identifies a file for its reader; each kind of reader has its own keys
Records = Any  # a split of TFDS or of the Hub
TRAIN, TEST, BY_HASH = 0, 1, -1  # the split of a file; BY_HASH: a hash of its content decides


class Reader(Protocol):
    """A reader of the files of a source. It is sent to worker processes, and opens its files there."""

    def read(self, keys: Sequence) -> Iterator[bytes | UserError]:
        """Yield the bytes of each file, or why it cannot be read."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """A list of the files of a source.

    Attributes:
      names: the name of each file, for messages.
      keys: the reader's key of each file.
      reader: reads the files.
      labels: the class of each file, int32 ``[N]``.
      class_names: the name of each class.
      splits: ``TRAIN``, ``TEST`` or ``BY_HASH`` for each file, int8 ``[N]``.
      stamp: a text that changes when a file is added, removed or changed.
      image_size: side of the images in pixels, if the source defines it.
      channels: 1 or 3, if the source defines it.
      notes: messages that are shown to the user.
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
    """Sort paths part by part, and the numbers in them by value: ``img2.png`` comes before ``img10.png``.

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
