"""The log of a run: metrics.jsonl, TensorBoard, and what the terminal shows."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
from etils import epath
from tqdm import tqdm

from jaxgen.io.files import is_remote, write_atomically
from jaxgen.io.processes import is_first
from jaxgen.io.run_directory import read_metrics


class MetricsFile:
    """``metrics.jsonl``: one JSON object a line, each step once, in order, also after a kill at any moment.

    To an object in a bucket nothing can be added: there every row writes all of them.
    """

    def __init__(self, path: epath.Path, resumed_at: int):
        """Takes up the file as it was at step ``resumed_at``; later rows, which will be made again, are dropped."""
        self._path = path
        self._rows = [row for row in read_metrics(path) if row['step'] <= resumed_at]
        self._write_all()

    def _write_all(self) -> None:
        write_atomically(self._path, ''.join(json.dumps(row) + '\n' for row in self._rows).encode())

    def write(self, row: dict[str, float]) -> None:
        if not is_first():
            return
        if is_remote(self._path):
            self._rows.append(row)
            self._write_all()
            return
        with open(self._path, 'a') as file:
            file.write(json.dumps(row) + '\n')
            file.flush()
            os.fsync(file.fileno())


class TensorBoard:
    """clu's summary writer in a thread of its own, since TensorFlow takes seconds to import; off where it is missing.

    It is imported when there is something to write, and does not keep the first step waiting.
    """

    def __init__(self, logdir: epath.Path):
        self._logdir = str(logdir)
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._writer: concurrent.futures.Future | None = None

    def _submit(self, method: str, *args) -> None:
        if self._writer is None:
            self._writer = self._thread.submit(_summary_writer, self._logdir)

        def work():
            if writer := self._writer.result():
                writer.flush()
                getattr(writer, method)(*args)

        self._thread.submit(work)

    def write_scalars(self, step: int, values: dict[str, float]) -> None:
        self._submit('write_scalars', step, values)

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        """``image`` uint8 ``[H, W, C]``."""
        self._submit('write_images', step, {name: image[None]})

    def close(self) -> None:
        if self._writer is not None:
            self._submit('close')
        self._thread.shutdown(wait=True)


def _summary_writer(logdir: str):
    if not is_first():
        return None
    os.environ.update(TF_CPP_MIN_LOG_LEVEL='3', TF_ENABLE_ONEDNN_OPTS='0')  # its banners would bury the progress
    try:
        import tensorflow as tf
        from clu.metric_writers import SummaryWriter
    except ImportError:
        return None
    tf.config.set_visible_devices([], 'GPU')  # the accelerator's memory is JAX's
    return SummaryWriter(logdir)


class Progress:
    """A bar with rate and time left on a terminal, a plain line for each row of the log elsewhere."""

    def __init__(self, start: int, total: int):
        self._total = total
        self._bar = tqdm(
            total=total, initial=start, unit='step', dynamic_ncols=True, disable=None, file=sys.stderr, smoothing=0.05
        )

    def advance(self, steps: int) -> None:
        self._bar.update(steps)

    def row(self, row: dict[str, float]) -> None:
        """Shows a row of the log."""
        images = row['images_per_sec']
        losses = '  '.join(f'{name} {value:.4f}' for name, value in row.items() if name.startswith('loss'))
        if self._bar.disable:
            left = (self._total - row['step']) / row['steps_per_sec']
            self.say(
                f'step {row["step"]}/{self._total}  {losses}  {row["steps_per_sec"]:.2f} steps/s  '
                f'{images:.1f} images/s  {tqdm.format_interval(left)} left'
            )
        else:
            self._bar.set_postfix_str(f'{losses}, {images:.1f} images/s')

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Say what the block does before it begins, and on a terminal for how long it has been at it."""
        if self._bar.disable:
            self.say(f'{what} ...')
            yield
            return
        done = threading.Event()

        def count() -> None:
            start = time.monotonic()
            while not done.wait(1.0):
                self._bar.set_postfix_str(f'{what}, {time.monotonic() - start:.0f} s')

        self._bar.set_postfix_str(f'{what} ...')
        thread = threading.Thread(target=count, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self._bar.set_postfix_str('')

    def say(self, text: str) -> None:
        if self._bar.disable:
            print(text, flush=True)
        else:
            self._bar.write(text)

    def close(self) -> None:
        self._bar.close()
