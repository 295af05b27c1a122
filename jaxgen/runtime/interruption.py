"""Answer signals at once, even while the main thread waits for a compiler or a device and cannot run Python's handlers."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def answered(reply: Callable[[int, threading.Event], None]) -> Iterator[None]:
    """Call a function in its own thread for each SIGTERM and SIGINT, in addition to Python's handlers.

    Outside the main thread nothing is called, because Python handles signals only there.

    Args:
      reply: takes the number of the signal, and an event that is set when the block ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    ended = threading.Event()

    def listen() -> None:
        while data := os.read(reader, 1):
            if data[0] in SIGNALS:
                reply(data[0], ended)

    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = threading.Thread(target=listen, daemon=True, name='signals')
    thread.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        os.close(writer)
        thread.join()
        os.close(reader)


def end_at_once(number: int, ended: threading.Event, patience: float) -> None:
    """End the process if the block of ``answered`` does not end by itself within ``patience`` seconds."""
    if not ended.wait(patience):
        os._exit(128 + number)
