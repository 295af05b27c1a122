"""Report how many images are done, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable


class Meter:
    """Counts images and reports them from time to time as a line of text.

    Args:
      what: what the images are, as the line begins.
      total: number of images in all.
      report: receives the line, such as ``print``; nothing is reported if not set.
      every: minimum time between two lines, in seconds.

    Attributes:
      rate: images a second since the first batch, which includes the compilation; None until the second batch is done.
    """

    def __init__(self, what: str, total: int, report: Callable[[str], None] | None = None, every: float = 10.0):
        self._what, self._total, self._report, self._every = what, total, report, every
        self._start = self._reported = time.perf_counter()
        self._before = 0
        self.rate: float | None = None

    def __call__(self, count: int) -> None:
        """Note that ``count`` images are done."""
        now = time.perf_counter()
        if self._before:
            self.rate = (count - self._before) / (now - self._start)
        else:
            self._start, self._before = now, count
        if self._report and (now - self._reported > self._every or count == self._total):
            self._reported = now
            rate = '' if self.rate is None else f', {self.rate:.1f} images/s'
            self._report(f'{self._what}: {count}/{self._total} images{rate}')


def print_line(text: str) -> None:
    """Print a line at once, for ``Meter.report``."""
    print(text, flush=True)
