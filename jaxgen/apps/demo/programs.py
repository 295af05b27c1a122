"""Compilation of the programs of a model in threads, so that a visitor sees how long it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator

INTERVAL = 1.0  # seconds between two reports on a compilation


class _Compilation:
    """A first call of a program in its own thread, which compiles the program; its result is not used."""

    def __init__(self, first_call: Callable[[], object]):
        self.began, self.seconds = time.monotonic(), 0.0
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(first_call,), name='compile', daemon=True)
        self._thread.start()

    def is_ready(self) -> bool:
        """Wait for a short time, and return whether the program is compiled."""
        self._thread.join(INTERVAL)
        return not self._thread.is_alive()

    def _run(self, first_call: Callable[[], object]) -> None:
        try:
            first_call()
        except Exception as e:  # raised again in the threads that wait
            self.error = e
        self.seconds = time.monotonic() - self.began


class Programs:
    """A record of the compilations of the programs of a model, each of which runs once for all who wait for it."""

    def __init__(self):
        self._compilations: dict[Hashable, _Compilation] = {}
        self._lock = threading.Lock()

    @property
    def longest(self) -> float:
        """The seconds that the longest compilation took; 0 before the first one is done."""
        return max((one.seconds for one in self._compilations.values()), default=0.0)

    def wait(self, key: Hashable, first_call: Callable[[], object]) -> Iterator[float]:
        """Yield the seconds since a compilation began, every ``INTERVAL``, until the program is ready.

        Args:
          key: identifies the program.
          first_call: a function that calls the program for the first time.
        """
        with self._lock:
            if key not in self._compilations:
                self._compilations[key] = _Compilation(first_call)
            compilation = self._compilations[key]
        while not compilation.is_ready():
            yield time.monotonic() - compilation.began
        if compilation.error is not None:
            with self._lock:
                self._compilations.pop(key, None)
            raise compilation.error
