"""The line at the bottom of a terminal that tells what the program does, and lines of text where there is no terminal."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from typing import Protocol, TextIO, cast

LINE_SECONDS = 10.0  # minimum time between two lines where there is no terminal
LONGEST_GAP = 60.0  # time between two lines about the same work in the end, in seconds
TICK_SECONDS = 0.5  # time between two looks at the work
DRAW_SECONDS = 0.1  # minimum time between two drawings because of a count


class Shown(Protocol):
    """A piece of work as the display sees it; see ``progress.Stage``."""

    announces: bool
    note: str

    def line(self, width: int, encoding: str, prefix: str = '') -> str:
        """Return the line for a terminal."""

    def outline(self) -> str:
        """Return the words that stand before the line of work within this one."""

    def summary(self) -> str:
        """Return what was done, when it is complete."""


class Display:
    """Shows the innermost piece of work of a program, and keeps it up to date in a thread of its own.

    Attributes:
      lock: held by whoever writes.
      is_mid_line: whether the cursor stands behind text that does not end with a newline.
      is_silent: whether this process shows nothing at all.
      hidden: number of blocks in which nothing is shown.
      work: the pieces of work that have begun, the innermost last.
    """

    def __init__(self):
        self.lock = threading.RLock()
        self.is_running = self.is_silent = self.is_mid_line = False
        self.hidden = 0
        self.work: list[Shown] = []
        self._terminal: TextIO | None = None

    @property
    def is_on(self) -> bool:
        """Whether something is shown now."""
        return self.is_running and not self.is_silent and not self.hidden

    @property
    def has_bar(self) -> bool:
        """Whether it is shown as a line that changes."""
        return self.is_on and self._terminal is not None

    def start(self) -> None:
        """Begin to show; text that is printed appears above the line from now on."""
        self._drawn, self._drawn_at = 0, 0.0
        self._line_at, self._gap, self._told = float('-inf'), LINE_SECONDS, cast(Shown | None, None)
        self._started_at = time.perf_counter()
        self._outputs, self.is_mid_line = (sys.stdout, sys.stderr), False
        if sys.stderr.isatty():
            self._terminal = sys.stderr
            sys.stderr = cast(TextIO, _Above(sys.stderr, self))
            if sys.stdout.isatty():
                sys.stdout = cast(TextIO, _Above(sys.stdout, self))
        self.is_running, self._ended = True, threading.Event()
        self._thread = threading.Thread(target=self._keep_up, args=(self._ended,), daemon=True, name='progress')
        self._thread.start()

    def stop(self) -> None:
        """Show no more."""
        self.is_running = False
        self._ended.set()
        self._thread.join()
        self.clear()
        if self._terminal is not None:
            sys.stdout, sys.stderr = self._outputs
        self._terminal = None

    def _keep_up(self, ended: threading.Event) -> None:
        while not ended.wait(TICK_SECONDS):
            with self.lock:
                self._update()

    def begin(self, work: Shown) -> None:
        """Show a piece of work until it ends or another one begins."""
        with self.lock:
            self.work.append(work)
            self._update(is_new=True)

    def end(self, work: Shown, leaves_line: bool) -> None:
        """Show the work around this one again.

        Args:
          work: what has ended.
          leaves_line: whether a line says what was done; work within other work that is counted leaves none.
        """
        with self.lock:
            self.work.remove(work)
            if leaves_line and self.is_on and not any(outer.outline() for outer in self.work):
                self._print(work.summary(), always=self._terminal is not None)

    def counted(self) -> None:
        """Draw the line again if that was not done for a while."""
        if self.has_bar and time.perf_counter() - self._drawn_at > DRAW_SECONDS:
            with self.lock:
                self._update()

    def say(self, text: str, *, always: bool) -> None:
        """Print text; if not ``always``, only where no other line was printed of late."""
        with self.lock:
            self._print(text, always)

    def _update(self, is_new: bool = False) -> None:
        """Draw the innermost piece of work, or print a line about it if one is due."""
        if not self.is_on or not self.work:
            return
        work = self.work[-1]
        if self._terminal is not None:
            if not is_new or time.perf_counter() - self._drawn_at > DRAW_SECONDS:
                self._draw(work, self._terminal)
        elif work.announces and self._may_be_told(work, is_new):
            if work is not self._told:
                self._gap = LINE_SECONDS
            if self._print(str(work), always=False):
                self._gap = min(LONGEST_GAP, 1.5 * self._gap) if work is self._told else LINE_SECONDS
                self._told = work

    def _may_be_told(self, work: Shown, is_new: bool) -> bool:
        """Return whether a line about work may be printed: at its beginning only if it has a note, or else after a while."""
        if is_new:
            return bool(work.note) and work is not self._told
        return time.perf_counter() - self._started_at >= LINE_SECONDS

    def _print(self, text: str, always: bool) -> bool:
        """Print text and return True, or return False if it is too early for another line."""
        now = time.perf_counter()
        if not always and now - self._line_at < self._gap:
            return False
        if not always:
            self._line_at = now
        try:
            print(text, flush=True)
        except (OSError, ValueError):
            if threading.current_thread() is threading.main_thread():
                raise  # nobody reads, which ends the program
        return True

    def _draw(self, work: Shown, terminal: TextIO) -> None:
        if self.is_mid_line:
            return
        width = shutil.get_terminal_size().columns - 1
        prefix = ''.join(outer.outline() for outer in self.work[:-1])
        text = work.line(width, terminal.encoding or 'ascii', prefix)
        self._write(f'\r{text}{" " * max(0, self._drawn - len(text))}')
        self._drawn, self._drawn_at = len(text), time.perf_counter()

    def clear(self) -> None:
        """Remove the line from the terminal."""
        with self.lock:
            if self._terminal is not None and self._drawn:
                self._write(f'\r{" " * self._drawn}\r')
                self._drawn = 0

    def _write(self, text: str) -> None:
        if self._terminal is not None:
            with contextlib.suppress(OSError, ValueError):
                self._terminal.write(text)
                self._terminal.flush()


class _Above:
    """A stream to a terminal whose text appears above the line of a display."""

    def __init__(self, stream: TextIO, display: Display):
        self._stream, self._display = stream, display

    def write(self, text: str) -> int:
        with self._display.lock:
            self._display.clear()
            if text:
                self._display.is_mid_line = not text.endswith('\n')
            return self._stream.write(text)

    def writelines(self, lines: list[str]) -> None:
        self.write(''.join(lines))

    def __getattr__(self, name: str):
        return getattr(self._stream, name)
