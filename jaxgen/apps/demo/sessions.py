"""What the page remembers of a visitor, in memory, until the tab is closed."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np

from jaxgen.apps.demo.uploads import Picture

MOST = 64  # visitors remembered at once


@dataclasses.dataclass
class Session:
    """Of one open tab.

    Attributes:
      picture: that edits start from.
      way: uint8 ``[S + 1, N, H, W, C]``, the images of the last edit after each step.
    """

    picture: Picture | None = None
    way: np.ndarray | None = None


class Sessions:
    """By the tab's name, which the server gives; the oldest go where there are too many."""

    def __init__(self):
        self._of: collections.OrderedDict[str, Session] = collections.OrderedDict()

    def __getitem__(self, tab: str) -> Session:
        session = self._of.setdefault(tab, Session())
        self._of.move_to_end(tab)
        while len(self._of) > MOST:
            self._of.popitem(last=False)
        return session

    def __len__(self) -> int:
        return len(self._of)

    def forget(self, tab: str) -> None:
        self._of.pop(tab, None)
