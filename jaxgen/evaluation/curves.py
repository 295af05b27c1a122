"""Curves of a run's log: ``python -m jaxgen.evaluation.curves runs/NAME/metrics.jsonl METRIC[,METRIC ...] OUT.png``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from etils import epath
from matplotlib.figure import Figure

from jaxgen.errors import UserError, check, names, pick
from jaxgen.training.metrics import read_metrics


def plot(rows: list[dict[str, float]], metrics: Sequence[str]) -> Figure:
    """Metrics over the steps, on a logarithmic scale where they are positive.

    Raises:
      UserError: if there are no rows, or they have no such metric.
    """
    check(bool(rows), 'the log has no rows: train until config.train.log_every is reached')
    for metric in metrics:
        pick(metric, rows[0], 'the metric')
    figure = Figure(figsize=(6, 3.5), layout='constrained')
    axes = figure.subplots()
    for metric in metrics:
        axes.plot([row['step'] for row in rows], [row[metric] for row in rows], label=metric)
    positive = min(row[metric] for row in rows for metric in metrics) > 0
    axes.set(xlabel='step', yscale='log' if positive else 'linear')
    axes.grid(True, which='both', alpha=0.3)
    axes.legend()
    return figure


if __name__ == '__main__':
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    try:
        plot(read_metrics(epath.Path(sys.argv[1])), names(sys.argv[2])).savefig(sys.argv[3], dpi=100)
    except UserError as e:
        raise SystemExit(f'{sys.argv[1]}: {e}') from e
