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
from contextlib import AbstractContextManager

import numpy as np
from etils import epath
from tqdm import tqdm

from jaxgen.io.files import is_remote, write_atomically
from jaxgen.io.processes import is_first
from jaxgen.io.run_directory import METRICS, keep_damaged_metrics, read_metrics


class MetricsFile:
    """``metrics.jsonl``: one JSON object a line, each step once and in order, also after a kill at any moment.

    An object in a bucket cannot be appended to, so there every new row writes the whole file; so does one that finds the
    file removed.

    Args:
      path: the file; rows after ``resumed_at``, which the run will make again, are dropped from it, and so are damaged
        lines, of which ``damaged-metrics.jsonl`` keeps a copy.
      resumed_at: the step at which the run starts or resumes.
    """

    def __init__(self, path: epath.Path, resumed_at: int):
        self._path = path
        self._rows = [row for row in read_metrics(path) if row['step'] <= resumed_at]
        keep_damaged_metrics(path)
        self._write_all()

    def _write_all(self) -> None:
        write_atomically(self._path, ''.join(json.dumps(row) + '\n' for row in self._rows).encode())

    def write(self, row: dict[str, float]) -> None:
        """Append a row, on disk when this returns; of several processes the first writes it."""
        if not is_first():
            return
        self._rows.append(row)
        if is_remote(self._path) or not self._path.exists():
            self._write_all()
            return
        with open(self._path, 'a') as file:
            file.write(json.dumps(row) + '\n')
            file.flush()
            os.fsync(file.fileno())


class TensorBoard:
    """Writes summaries with clu in a thread of its own; writes nothing where TensorFlow is not installed.

    TensorFlow takes seconds to import. It is imported when there is something to write, and the first step does not wait.
    """

    def __init__(self, logdir: epath.Path):
        self._logdir = str(logdir)
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._writer: concurrent.futures.Future | None = None

    def _submit(self, method: str, *args) -> None:
        future = self._writer or self._thread.submit(_summary_writer, self._logdir)
        self._writer = future

        def write():
            if writer := future.result():
                writer.flush()
                getattr(writer, method)(*args)

        self._thread.submit(write)

    def write_scalars(self, step: int, values: dict[str, float]) -> None:
        """Write one point of each curve."""
        self._submit('write_scalars', step, values)

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Write an image, uint8 ``[H, W, C]``."""
        self._submit('write_images', step, {name: image[None]})

    def close(self) -> None:
        """Wait until all is written."""
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
    tf.config.set_visible_devices([], 'GPU')  # the accelerator's memory is for JAX
    return SummaryWriter(logdir)


class Progress:
    """Shows a bar with rate and remaining time on a terminal, and a line for each row of the log elsewhere.

    Args:
      start: the step at which the run starts or resumes.
      total: the last step.
    """

    def __init__(self, start: int, total: int):
        self._total = total
        self._bar = tqdm(
            total=total, initial=start, unit='step', dynamic_ncols=True, disable=None, file=sys.stderr, smoothing=0.05
        )

    def advance(self, steps: int) -> None:
        """Move the bar by a number of steps."""
        self._bar.update(steps)

    def row(self, row: dict[str, float]) -> None:
        """Show a row of the log."""
        images = row['images_per_sec']
        losses = '  '.join(f'{name} {value:.4f}' for name, value in row.items() if name.startswith('loss'))
        if not self._bar.disable:
            self._bar.set_postfix_str(f'{losses}, {images:.1f} images/s')
            return
        left = (self._total - row['step']) / row['steps_per_sec']
        self.say(
            f'step {row["step"]}/{self._total}  {losses}  {row["steps_per_sec"]:.2f} steps/s  '
            f'{images:.1f} images/s  {tqdm.format_interval(left)} left'
        )

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Say what the block does before it begins, and on a terminal for how long it has been at it."""
        if self._bar.disable:
            self.say(f'{what} ...')
            yield
            return
        done = threading.Event()

        def count_seconds() -> None:
            start = time.monotonic()
            while not done.wait(1.0):
                self._bar.set_postfix_str(f'{what}, {time.monotonic() - start:.0f} s')

        self._bar.set_postfix_str(f'{what} ...')
        thread = threading.Thread(target=count_seconds, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self._bar.set_postfix_str('')

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar.disable:
            print(text, flush=True)
        else:
            self._bar.write(text)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


class RunLog:
    """All places to which a run reports: ``metrics.jsonl``, ``tensorboard/`` and the terminal.

    Args:
      start: the step at which the run starts or resumes.
      total: the last step.
    """

    def __init__(self, workdir: epath.Path, start: int, total: int):
        self._file = MetricsFile(workdir / METRICS, start)
        self._tensorboard = TensorBoard(workdir / 'tensorboard')
        self._progress = Progress(start, total)

    def row(self, row: dict[str, float]) -> None:
        """Write a row of the log everywhere; ``row['step']`` is its step."""
        self._file.write(row)
        self._tensorboard.write_scalars(int(row['step']), {name: x for name, x in row.items() if name != 'step'})
        self._progress.row(row)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write values that are not part of ``metrics.jsonl`` to TensorBoard."""
        self._tensorboard.write_scalars(step, values)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Write an image, uint8 ``[H, W, C]``, to TensorBoard."""
        self._tensorboard.write_image(step, name, image)

    def advance(self, steps: int) -> None:
        """Show that a number of steps are done."""
        self._progress.advance(steps)

    def waiting(self, what: str) -> AbstractContextManager[None]:
        """Say on the terminal what the block does: see ``Progress.waiting``."""
        return self._progress.waiting(what)

    def say(self, text: str) -> None:
        """Print a line on the terminal."""
        self._progress.say(text)

    def close(self) -> None:
        """Wait until all is written."""
        self._progress.close()
        self._tensorboard.close()
