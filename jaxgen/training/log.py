"""The log of a run: metrics.jsonl, TensorBoard, and what the terminal shows."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
from collections.abc import Iterator

import numpy as np
from etils import epath

from jaxgen.io.files import is_remote, write_atomically
from jaxgen.io.processes import is_first
from jaxgen.io.run_directory import METRICS, keep_damaged_metrics, read_metrics
from jaxgen.runtime import progress


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


class RunLog:
    """All places to which a run reports: ``metrics.jsonl``, ``tensorboard/`` and the terminal.

    Args:
      start: the step at which the run starts or resumes.
      total: the last step.
    """

    def __init__(self, workdir: epath.Path, start: int, total: int):
        self._file = MetricsFile(workdir / METRICS, start)
        self._tensorboard = TensorBoard(workdir / 'tensorboard')
        self._stage = progress.Stage('training', total, 'steps', done=start, announces=False, sums_up=False)
        self._total = total

    def row(self, row: dict[str, float]) -> None:
        """Write a row of the log everywhere; ``row['step']`` is its step."""
        self._file.write(row)
        self._tensorboard.write_scalars(int(row['step']), {name: x for name, x in row.items() if name != 'step'})
        losses = '  '.join(f'{name} {value:.4f}' for name, value in row.items() if name.startswith('loss'))
        self._stage.detail = losses
        if not progress.has_bar():
            left = (self._total - row['step']) / row['steps_per_sec']
            line = (
                f'step {row["step"]}/{self._total}  {losses}  {row["steps_per_sec"]:.2f} steps/s  '
                f'{row["images_per_sec"]:.1f} images/s  {progress.duration(left)} left'
            )
            progress.say(line, always=row['step'] == self._total)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write values that are not part of ``metrics.jsonl`` to TensorBoard."""
        self._tensorboard.write_scalars(step, values)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Write an image, uint8 ``[H, W, C]``, to TensorBoard."""
        self._tensorboard.write_image(step, name, image)

    def advance(self, steps: int) -> None:
        """Show that a number of steps are done."""
        self._stage.advance(steps)

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Show how far training is while the block runs."""
        with self._stage:
            yield

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of the block out of the rate of training and of the time left."""
        with self._stage.paused():
            yield

    def say(self, text: str) -> None:
        """Print a line on the terminal."""
        progress.say(text)

    def close(self) -> None:
        """Wait until all is written."""
        with progress.Stage('writing the last curves for TensorBoard', announces=False, sums_up=False):
            self._tensorboard.close()
