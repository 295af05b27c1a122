"""The state of each visitor of the page, which is kept in memory until the browser tab is closed."""

from __future__ import annotations

import collections
import dataclasses

from jaxgen.apps.demo.engine import Progress
from jaxgen.apps.serving.uploads import Picture

MAX_SESSIONS = 64  # largest number of browser tabs that are remembered


@dataclasses.dataclass
class Session:
    """The state of one open browser tab.

    Attributes:
      picture: the image that the visitor gave for edits to start from; None for the example picture.
      ways: the steps that led to the last images of a tab, by the name of the tab, for its replay.
    """

    picture: Picture | None = None
    ways: dict[str, list[Progress]] = dataclasses.field(default_factory=dict)


class Sessions:
    """A collection of sessions by the identifier of the browser tab; the oldest are forgotten if there are too many."""

    def __init__(self):
        self._sessions: collections.OrderedDict[str | None, Session] = collections.OrderedDict()

    def __getitem__(self, tab: str | None) -> Session:
        session = self._sessions.setdefault(tab, Session())
        self._sessions.move_to_end(tab)
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def __len__(self) -> int:
        return len(self._sessions)

    def forget(self, tab: str | None) -> None:
        """Forget the session of a browser tab."""
        self._sessions.pop(tab, None)
