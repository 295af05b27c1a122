"""The log of a run: metrics.jsonl, the lines on the terminal, and the writers of curves."""

from __future__ import annotations

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
from jaxgen.training.writers import LogOptions, make_writers


class MetricsFile:
    """The file ``metrics.jsonl``: one JSON object per line, with each step once and in order, even if the run was killed.

    An object in a bucket cannot be appended to, so every new row rewrites the whole file there. The same happens if the file
    was removed.

    Args:
      path: the file. Rows after ``resumed_at``, which the run will write again, are removed from it, and so are damaged lines,
        of which ``damaged-metrics.jsonl`` keeps a copy.
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
        """Append a row, which is on disk when this returns; only the first of several processes writes."""
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


class RunLog:
    """All places to which a run reports: ``metrics.jsonl``, the terminal, ``tensorboard/`` and Weights & Biases.

    Args:
      workdir: the run directory.
      start: the step at which the run starts or resumes.
      total: the last step.
      options: the other places to which the run reports.

    Raises:
      UserError: if Weights & Biases does not start.
    """

    def __init__(self, workdir: epath.Path, start: int, total: int, options: LogOptions):
        self._writers = make_writers(workdir, start, options)
        self._file = MetricsFile(workdir / METRICS, start)
        self._stage = progress.Stage('training', total, 'steps', done=start, announces=False, sums_up=False)
        self._total = total

    def row(self, row: dict[str, float]) -> None:
        """Write a row of the log everywhere; ``row['step']`` is its step."""
        self._file.write(row)
        self.scalars(int(row['step']), {name: x for name, x in row.items() if name != 'step'})
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
        """Write values to the curves, but not to ``metrics.jsonl``."""
        for writer in self._writers:
            writer.write_scalars(step, values)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Write an image, uint8 ``[H, W, C]``, to TensorBoard and Weights & Biases."""
        for writer in self._writers:
            writer.write_image(step, name, image)

    def advance(self, steps: int) -> None:
        """Advance the progress display by a number of steps."""
        self._stage.advance(steps)

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Show the progress of training while the block runs."""
        with self._stage:
            yield

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of the block from the displayed rate and from the time left."""
        with self._stage.paused():
            yield

    def say(self, text: str) -> None:
        """Print a line on the terminal."""
        progress.say(text)

    def close(self, is_complete: bool) -> None:
        """Wait until everything is written; ``is_complete`` says whether the run reached its last step."""
        with progress.Stage('writing the last curves', announces=False, sums_up=False):
            for writer in self._writers:
                writer.close(is_complete)
