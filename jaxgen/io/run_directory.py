"""Names of the files and folders in a run directory, and reading the two files that every mode needs."""

from __future__ import annotations

import contextlib
import json

from etils import epath

from jaxgen.types import JsonObject

CONFIG = 'config.json'  # the resolved config that the run was made with
METRICS = 'metrics.jsonl'  # one JSON object a line, for each row of the log
CHECKPOINTS = 'checkpoints'  # folder: a folder for each step
BEST = 'best'  # folder: the checkpoint with the lowest FID of those evaluated during training
SAMPLES = 'samples'  # folder: grids of images, and the images that were asked for
EVALUATION = 'evaluation'  # folder: metrics with their protocols, a JSON file each
EVALUATION_IN_TRAINING = 'evaluation/training'  # folder: the same at intervals of training, as <step>.json
WEIGHTS = 'weights.safetensors'  # weights alone, in place of checkpoints
ADAPTER = 'adapter.safetensors'  # what a fine-tuned run changes of its base
REPORT = 'report.html'  # a comparison


def read_config(workdir: epath.Path) -> JsonObject | None:
    """Return the config of a run as the JSON object that is stored, or None if the folder holds no run."""
    path = workdir / CONFIG
    return json.loads(path.read_text()) if path.exists() else None


def read_metrics(path: epath.Path) -> list[dict[str, float]]:
    """Return the rows of a ``metrics.jsonl``, without a last line that was cut short when the run was killed."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows
