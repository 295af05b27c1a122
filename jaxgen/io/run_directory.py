"""The names of the files and folders in a run directory, and how to read its config and its log."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable
from typing import cast

from etils import epath

from jaxgen.errors import UserError, check
from jaxgen.io.files import absolute, parse_object, read_object, write_atomically
from jaxgen.io.processes import is_first
from jaxgen.types import Fields, JsonObject

CONFIG = 'config.json'  # the resolved config that the run was made with
PARAMETERS = 'parameters.txt'  # the number of parameters of each block
METRICS = 'metrics.jsonl'  # the log: one JSON object per line
CHECKPOINTS = 'checkpoints'  # folder with one subfolder for each step
BEST = 'best'  # folder of the checkpoint with the lowest FID during training
SAMPLES = 'samples'  # folder of the grids drawn during training and of the images that were sampled later
EVALUATION = 'evaluation'  # folder with a JSON file for each evaluation: the metrics with their protocols
EVALUATION_IN_TRAINING = 'evaluation/training'  # folder of the evaluations during training, as <step>.json
WEIGHTS = 'weights.safetensors'  # the weights without the training state, in place of checkpoints
ADAPTER = 'adapter.safetensors'  # the changes that a fine-tuned run makes to the weights of its base
REPORT = 'report.html'  # the report of a comparison
PUBLISHED = 'pretrained'  # folder of the models that come with the code; no images are written there
LARGEST_STEP = 2**31 - 1


def output_folder(workdir: epath.Path) -> epath.Path:
    """Return the folder for the images of a model: its run directory, or ``runs/<name>`` if it is in ``pretrained/``."""
    return absolute(f'runs/{workdir.name}') if workdir.parent.name == PUBLISHED else workdir


def read_config(workdir: epath.Path) -> JsonObject | None:
    """Return the stored config of a run as a JSON object, or None if the folder holds no run.

    Raises:
      UserError: if the file cannot be read, or is not a JSON object.
    """
    path = workdir / CONFIG
    if not path.exists():
        return None
    return read_object(path, f'the {CONFIG} of a run directory', f'copy it again, or name another {CONFIG}')


def parse_metrics(text: str) -> tuple[list[dict[str, float]], list[int]]:
    """Return the rows of a ``metrics.jsonl``, and the numbers of its damaged lines.

    A row is a JSON object of finite numbers, one of which is the ``step``, a whole number. A last line that is incomplete
    because the run was killed is ignored.
    """
    rows, damaged = [], []
    lines = text.split('\n')
    for number, line in enumerate(lines, 1):
        row = None
        try:
            row = parse_object(line)
        except ValueError:
            if not line.strip() or (number == len(lines) and line.startswith('{')):
                continue
        if row is not None and _is_row(row):
            rows.append(row)
        else:
            damaged.append(number)
    return rows, damaged


def _is_row(row: Fields) -> bool:
    step = row.get('step')
    return type(step) is int and 0 <= step <= LARGEST_STEP and all(map(is_finite, row.values()))


def is_finite(value: object) -> bool:
    """Return whether a JSON value is a number that a float can hold."""
    return type(value) in (int, float) and abs(cast(float, value)) <= sys.float_info.max


def read_metrics(path: epath.Path) -> list[dict[str, float]]:
    """Return the rows of a ``metrics.jsonl`` (see ``parse_metrics``); none if the file does not exist.

    Damaged lines are left out, with a warning on standard error once for each file.

    Raises:
      UserError: if the file cannot be read.
    """
    rows, damaged = parse_metrics(_text(path))
    if damaged:
        warn_once(
            f'{path} has damaged lines, which are left out: {len(damaged)} in total, the first is line {damaged[0]}'
        )
    return rows


@functools.cache
def warn_once(sentence: str) -> None:
    """Print a warning on standard error, unless this process has printed it before."""
    print(f'warning: {sentence}', file=sys.stderr, flush=True)


def keep_damaged_metrics(path: epath.Path) -> None:
    """Copy a ``metrics.jsonl`` with damaged lines to ``damaged-metrics.jsonl``, since continuing the log drops these lines."""
    if not is_first() or not parse_metrics(_text(path))[1]:
        return
    write_atomically(path.parent / f'damaged-{path.name}', path.read_bytes())


def _text(path: epath.Path) -> str:
    """Return the content of a file, with a replacement character for each byte that is not UTF-8."""
    try:
        return path.read_bytes().decode(errors='replace') if path.exists() else ''
    except OSError as e:
        raise UserError(f'{path} cannot be read ({e.strerror}): move it away') from e


def numbered(folder: epath.Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, in rising order: the entries whose names are numbers."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if re.fullmatch('[0-9]{1,10}', name))


def require_no_lost_checkpoints(workdir: epath.Path) -> None:
    """Refuse to begin at step 0 if the log shows that checkpoints were lost, as in a copy of a run without them.

    A run that was killed before its first checkpoint has only a short log, and may begin again.

    Raises:
      UserError: if checkpoints were lost; the message gives the last step of the log.
    """
    stored = None if numbered(workdir / CHECKPOINTS) else read_config(workdir)
    rows = read_metrics(workdir / METRICS) if stored else []
    if not stored or not rows:
        return
    fields = (('checkpoint', 'every'), ('train', 'steps_per_dispatch'))
    intervals = [stored[section].get(field) for section, field in fields if isinstance(stored.get(section), dict)]
    longest = max((value for value in intervals if isinstance(value, int)), default=0)
    check(
        longest == 0 or rows[-1]['step'] <= 3 * longest,
        f'{workdir} has no checkpoints, but a log up to step {rows[-1]["step"]}, which training from step 0 would replace: '
        f'copy {CHECKPOINTS}/ there as well, pass another --workdir, or remove its {METRICS}',
    )


def points(rows: Iterable[Fields], metric: str) -> list[tuple[float, float]]:
    """Return ``(step, value)`` for each row of a log that has the metric."""
    return [(row['step'], row[metric]) for row in rows if metric in row]
