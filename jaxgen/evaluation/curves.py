"""Curves of a run's log: ``python -m jaxgen.evaluation.curves runs/NAME/metrics.jsonl loss OUT.png``."""

from __future__ import annotations

import sys

from etils import epath
from matplotlib.figure import Figure

from jaxgen.training.metrics import read_metrics


def plot(rows: list[dict[str, float]], metric: str) -> Figure:
    """One metric over the steps, on a logarithmic scale where it is positive."""
    figure = Figure(figsize=(6, 3.5), layout='constrained')
    axes = figure.subplots()
    values = [row[metric] for row in rows]
    axes.plot([row['step'] for row in rows], values)
    axes.set(xlabel='step', ylabel=metric, yscale='log' if min(values) > 0 else 'linear')
    axes.grid(True, which='both', alpha=0.3)
    return figure


if __name__ == '__main__':
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    plot(read_metrics(epath.Path(sys.argv[1])), sys.argv[2]).savefig(sys.argv[3], dpi=100)
