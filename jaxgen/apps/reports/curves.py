"""Plot the log of a run: ``python -m jaxgen.apps.reports.curves runs/NAME/metrics.jsonl METRIC[,METRIC ...] OUT.png``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from etils import epath

from jaxgen.apps.reports.plots import line_chart
from jaxgen.errors import UserError, check, names, pick
from jaxgen.io.run_directory import read_metrics


def lines(rows: list[dict[str, float]], metrics: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Return the points ``(step, value)`` of each metric.

    Raises:
      UserError: if there are no rows, or they have no such metric.
    """
    check(bool(rows), 'the log has no rows: train until the step config.train.log_every')
    for metric in metrics:
        pick(metric, rows[0], 'the metric')
    return {metric: [(row['step'], row[metric]) for row in rows] for metric in metrics}


if __name__ == '__main__':
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    try:
        found = lines(read_metrics(epath.Path(sys.argv[1])), names(sys.argv[2]))
    except UserError as e:
        raise SystemExit(f'{sys.argv[1]}: {e}') from e
    line_chart(found, 'step', '').savefig(sys.argv[3], dpi=100)
