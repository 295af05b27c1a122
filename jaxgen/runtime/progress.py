"""Show what the program does, its progress and the time left: a bar on a terminal, a few lines of text elsewhere.

A ``Stage`` is a piece of work. Any code may have stages. They are shown only within ``shown()``, which the command line enters,
so the library is silent in other programs. If stderr is not a terminal, a line is printed at most every ten seconds.
"""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Iterator

from jaxgen.runtime.terminal import Display

RATE_SECONDS = 30  # the rate is measured over about this time

_DISPLAY = Display()


class Stage:
    """A piece of work with a name, and with a count if its size is known.

    A stage can be entered several times, as a generator does between two of its values. Only the time within counts.

    Args:
      what: the work in words, as in ``sampling``.
      total: the count at which the work is complete; None if nothing is counted.
      unit: what is counted, in the plural.
      done: the count at the start.
      note: words about the time that it takes.
      announces: whether to print lines about its progress where there is no terminal; if not, the caller prints them.
      sums_up: whether to print a line when it is complete, if it took a second or more.
      can_stop: whether Ctrl-C can stop it; Python cannot react to a signal while XLA compiles a program.

    Attributes:
      detail: further words after the count.
    """

    def __init__(
        self,
        what: str,
        total: int | None = None,
        unit: str = 'images',
        *,
        done: int = 0,
        note: str = '',
        announces: bool = True,
        sums_up: bool = True,
        can_stop: bool = True,
    ):
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self.note, self.detail, self.announces, self._sums_up = note, '', announces, sums_up
        self.can_stop = can_stop
        self._start, self._spent = done, 0.0
        self._since: float | None = None
        self._marks = collections.deque([(0.0, done)], maxlen=RATE_SECONDS)
        self._last = (0.0, done)

    def __enter__(self) -> Stage:
        self._since = time.perf_counter()
        _DISPLAY.begin(self)
        return self

    def __exit__(self, kind, *exc) -> None:
        self._spent, self._since = self.seconds, None
        is_complete = kind is None and (self.total is None or self.done >= self.total)
        _DISPLAY.end(self, leaves_line=is_complete and self._sums_up and self.seconds >= 1)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time that the block takes; the stage has been entered."""
        self._spent, self._since = self.seconds, None
        try:
            yield
        finally:
            self._since = time.perf_counter()

    @property
    def seconds(self) -> float:
        """The time spent within."""
        since = self._since
        return self._spent if since is None else self._spent + time.perf_counter() - since

    @property
    def rate(self) -> float | None:
        """The recent rate per second; None before anything is counted, and in the first second."""
        (start, before), (now, done) = self._marks[0], self._last
        return (done - before) / (now - start) if done > before and now - start >= 1 else None

    @property
    def mean_rate(self) -> float | None:
        """The mean rate per second since the start; None before anything is counted."""
        now, done = self._last
        return (done - self._start) / now if done > self._start and now > 0 else None

    def reach(self, count: int) -> None:
        """Set the count to ``count``."""
        self.done, self._last = count, (self.seconds, count)
        if self._last[0] - self._marks[-1][0] >= 1:
            self._marks.append(self._last)

    def advance(self, count: int = 1) -> None:
        """Add ``count`` to the count."""
        self.reach(self.done + count)

    def skip(self, count: int) -> None:
        """Add ``count`` that was done before, which does not change the rate."""
        self.done, self._start = self.done + count, self._start + count
        self._marks = collections.deque(((t, done + count) for t, done in self._marks), maxlen=RATE_SECONDS)
        self._last = (self._last[0], self._last[1] + count)

    def status(self) -> str:
        """Return the count, the rate and the time left; or the time spent if nothing is counted."""
        if self.total is None:
            return duration(self.seconds)
        rate = self.rate
        if rate is None:
            pace = duration(self.seconds)
        else:
            pace = f'{_number(rate)} {self.unit}/s, {duration(max(0, self.total - self.done) / rate)} left'
        return f'{self.done:,}/{self.total:,} {self.unit}, {pace}{self.detail and ", "}{self.detail}'

    def __str__(self) -> str:
        note = f' ({self.note})' if self.note else ''
        return f'{self.what}: {self.status()}{note}'

    def summary(self) -> str:
        """Return what was done and how long it took."""
        if self.total is None or self.mean_rate is None:
            return f'{self.what}: {duration(self.seconds)}'
        number = self.done - self._start
        unit = self.unit.removesuffix('s') if number == 1 else self.unit
        return f'{self.what}: {number:,} {unit} in {duration(self.seconds)}, {_number(self.mean_rate)} {self.unit}/s'


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Show the stages of all threads within the block; within another such block nothing changes."""
    if _DISPLAY.is_running:
        yield
        return
    _DISPLAY.start()
    try:
        yield
    finally:
        _DISPLAY.stop()


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Show nothing within the block, because another process uses the terminal or the work is that of visitors."""
    _DISPLAY.hidden += 1
    _DISPLAY.close()
    try:
        yield
    finally:
        _DISPLAY.hidden -= 1
        _DISPLAY.open()


def silence() -> None:
    """Show nothing in this process from now on; only the first process of a run shows its stages."""
    _DISPLAY.is_silent = True
    _DISPLAY.close()


def is_shown() -> bool:
    """Return whether stages are shown."""
    return _DISPLAY.is_on


def has_bar() -> bool:
    """Return whether stages are shown as a bar on a terminal."""
    return _DISPLAY.has_bar


def unstoppable() -> str:
    """Return the name of a stage that has begun and that Ctrl-C cannot stop; empty if there is none."""
    return next((work.what for work in reversed(_DISPLAY.work) if not work.can_stop), '')


def say(text: str, *, always: bool = True) -> None:
    """Print text if stages are shown.

    Args:
      text: one or several lines.
      always: whether to print the text even if another line was printed less than ten seconds ago.
    """
    _DISPLAY.say(text, always=always)


def duration(seconds: float) -> str:
    """Return a time as in ``42 s``, ``3:07 min`` or ``2:05:00 h``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours}:{minutes:02}:{rest:02} h'
    return f'{minutes}:{rest:02} min' if minutes else f'{rest} s'


def _number(rate: float) -> str:
    return f'{rate:,.0f}' if rate >= 100 else f'{rate:.3g}'
