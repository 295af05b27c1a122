"""Show the work of a program: as lines at the bottom of a terminal, drawn by rich, or as lines of text elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

LINE_SECONDS = 10.0  # minimum time between two lines where there is no terminal
LONGEST_GAP = 60.0  # seconds: the gap between two lines about the same work grows up to this
TICK_SECONDS = 0.5  # time between two updates
BAR_WIDTH = 30  # largest width of a bar, in characters


class Work(Protocol):
    """A piece of work as the display sees it; see ``progress.Stage``."""

    what: str
    total: int | None
    done: int
    note: str
    announces: bool
    can_stop: bool

    def status(self) -> str:
        """Return the progress of the work."""

    def summary(self) -> str:
        """Return what was done, for when the work is complete."""


class Display:
    """A display of the pieces of work of a program, which a thread keeps up to date.

    Attributes:
      is_running: whether the program shows its work.
      is_silent: whether this process shows nothing at all.
      hidden: number of blocks in which nothing is shown.
    """

    def __init__(self):
        self.is_running = self.is_silent = False
        self.hidden = 0
        self._work: list[Work] = []  # the innermost last
        self._lock = threading.RLock()
        self._live: Live | None = None

    @property
    def is_on(self) -> bool:
        """Whether something is shown now."""
        return self.is_running and not self.is_silent and not self.hidden

    @property
    def has_bar(self) -> bool:
        """Whether the work is shown as lines on a terminal that change."""
        return self._live is not None

    @property
    def work(self) -> list[Work]:
        """The pieces of work that have begun and not ended, the innermost last."""
        return list(self._work)

    def start(self) -> None:
        """Begin to show the work."""
        self._line_at, self._gap = float('-inf'), LINE_SECONDS
        self._announced: Work | None = None
        self._started_at = time.perf_counter()
        self.is_running, self._ended = True, threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(self._ended,), daemon=True, name='progress')
        self._thread.start()

    def stop(self) -> None:
        """Stop showing the work."""
        self.is_running = False
        self._ended.set()
        self._thread.join()
        self.close()

    def open(self) -> None:
        """Draw the work on the terminal if there is one; printed text appears above it from now on."""
        is_terminal = sys.stderr.isatty() and os.environ.get('TERM') not in ('dumb', 'unknown')
        if self._live is None and self.is_on and self._work and is_terminal:
            from rich.console import Console
            from rich.live import Live

            console = Console(file=sys.stderr, soft_wrap=True, highlight=False)
            self._live = Live(
                console=console,
                get_renderable=self._lines,
                refresh_per_second=1 / TICK_SECONDS,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start(refresh=True)
            console.show_cursor()  # a process that is killed could not bring it back

    def close(self) -> None:
        """Remove the work from the terminal."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def begin(self, work: Work) -> None:
        """Show a piece of work until it ends."""
        with self._lock:
            self._work.append(work)
            self.open()
            if self.is_on and self._live is None and work.note and work is not self._announced:
                self._announce(work)

    def end(self, work: Work, leaves_line: bool) -> None:
        """Stop showing a piece of work.

        Args:
          work: the work that has ended.
          leaves_line: whether to print a line that sums it up; none is printed within other work that is counted.
        """
        with self._lock:
            self._work.remove(work)
            if leaves_line and not any(outer.total is not None for outer in self._work):
                self.say(work.summary(), always=self.has_bar)

    def say(self, text: str, *, always: bool) -> bool:
        """Print text and return True if it is due: always, or if no other line was printed recently."""
        with self._lock:
            now = time.perf_counter()
            if not self.is_on or (not always and now - self._line_at < self._gap):
                return False
            if not always:
                self._line_at = now
        print(text, flush=True)
        return True

    def _lines(self) -> Group:
        """Return a line for each counted piece of work, and for the innermost piece."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Column, Table
        from rich.text import Text

        rows: list[Table | Text] = []
        work = list(self._work)
        for one in [outer for outer in work[:-1] if outer.total is not None] + work[-1:]:
            if one.total is None:
                rows.append(Text(str(one), no_wrap=True, overflow='ellipsis'))
                continue
            # a narrow terminal shortens the bar first
            row = Table.grid(Column(no_wrap=True), Column(), Column(no_wrap=True), padding=(0, 1))
            bar = ProgressBar(max(one.total, 1), one.done, width=BAR_WIDTH)
            row.add_row(Text(one.what), bar, Text(one.status()))
            rows.append(row)
        return Group(*rows)

    def _watch(self, ended: threading.Event) -> None:
        """Print lines about work that takes long, if there is no terminal."""
        while not ended.wait(TICK_SECONDS):
            with self._lock:
                is_late = time.perf_counter() - self._started_at >= LINE_SECONDS
                if self._live is None and self._work and is_late:
                    try:
                        self._announce(self._work[-1])
                    except (OSError, ValueError):
                        return  # stdout is closed; the program ends when the main thread prints

    def _announce(self, work: Work) -> None:
        """Print a line about a piece of work if one is due: the first one soon, later ones at growing intervals."""
        if not work.announces:
            return
        is_repeated = work is self._announced
        if not is_repeated:
            self._gap = LINE_SECONDS
        line = f'{work} ...' if work.total is None else str(work)
        if self.say(line, always=False):
            self._gap = min(LONGEST_GAP, 1.5 * self._gap) if is_repeated else LINE_SECONDS
            self._announced = work
