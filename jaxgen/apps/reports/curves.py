"""Plot the log of a run: ``python -m jaxgen.apps.reports.curves runs/NAME/metrics.jsonl METRIC[,METRIC ...] OUT.png``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from etils import epath

from jaxgen.apps.reports import words
from jaxgen.apps.reports.plots import line_chart, save
from jaxgen.errors import check, names, pick
from jaxgen.io.run_directory import points, read_metrics
from jaxgen.runtime import command_line
from jaxgen.schema import expanded, located


def lines(rows: list[dict[str, float]], metrics: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Return the points ``(step, value)`` of each metric.

    Raises:
      UserError: if there are no rows, or they have no such metric.
    """
    check(bool(rows), 'the log has no rows: train until the step config.train.log_every')
    check(bool(metrics), f'no metric is named: choose some of {", ".join(rows[0])}, with commas between them')
    known = dict.fromkeys(name for row in rows for name in row)
    for metric in metrics:
        pick(metric, known, 'the metric')
    return {metric: points(rows, metric) for metric in metrics}


def main(argv: list[str]) -> int:
    """Write the figure; return the exit code."""
    return command_line.run(_run, argv)


def _run(argv: Sequence[str], surroundings: command_line.Surroundings) -> None:
    parser = command_line.Parser(prog='python -m jaxgen.apps.reports.curves', description=__doc__)
    for name in ('metrics.jsonl', 'METRIC[,METRIC...]', 'OUT.png'):
        parser.add_argument(name)
    path, metrics, out = vars(parser.parse_args(argv)).values()
    file = epath.Path(expanded(path))
    check(file.is_file(), f'{path} is not a file: name the metrics.jsonl of a run')
    rows = read_metrics(file)
    with located(path):
        found = lines(rows, names(metrics))
    named = {words.title(metric): line for metric, line in found.items()}
    save(line_chart(named, words.setting('step'), next(iter(named)) if len(named) == 1 else ''), out)


if __name__ == '__main__':
    command_line.leave(main(sys.argv))
