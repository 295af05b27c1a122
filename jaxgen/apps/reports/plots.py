"""Charts as SVG in the text colour of the page, so that they are legible in light and dark."""

from __future__ import annotations

import dataclasses
import io
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxgen.errors import pick
from jaxgen.io.files import write_atomically
from jaxgen.schema import expanded

INK = '#010203'  # placeholder for the text colour of the page, replaced when the SVG is written
PLAIN: Any = {'text.parse_math': False}  # a $ in a name is no formula
STYLE: Any = {
    **PLAIN,
    'svg.fonttype': 'none',
    'font.family': 'sans-serif',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'legend.frameon': False,
    **dict.fromkeys(('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color'), INK),
}


def bars(metrics: Mapping[str, Sequence[tuple[str, float, float]]]) -> str:
    """Return a small chart for each metric, with a bar for each (name, mean, deviation)."""
    with mpl.rc_context(STYLE):
        columns = min(3, len(metrics))
        rows = math.ceil(len(metrics) / columns)
        height = 0.5 + 0.35 * max(map(len, metrics.values()))
        figure = Figure(figsize=(3.2 * columns, height * rows + 0.3), layout='constrained')
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, (title, entries) in zip(axes, metrics.items(), strict=False):
            names, means, deviations = zip(*entries, strict=True)
            colours = [f'C{i}' for i in range(len(names))]
            ax.barh(range(len(names)), means, xerr=deviations if any(deviations) else None, color=colours, ecolor=INK)
            ax.set_yticks(range(len(names)), names)
            ax.invert_yaxis()
            ax.xaxis.set_major_locator(MaxNLocator(3))
            ax.set_title(title, fontsize=10)
        for ax in axes[len(metrics) :]:
            ax.remove()
        return _svg(figure)


def lines_on(ax: Axes, lines: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> None:
    """Plot lines of (x, y).

    The y axis is logarithmic if all values are positive and the largest is over three times the smallest.
    """
    for name, points in lines.items():
        ax.plot(*zip(*points, strict=True), label=name, marker='o' if len(points) < 20 else None, markersize=3)
    values = [value for points in lines.values() for _, value in points]
    ax.set(xlabel=x, ylabel=y, yscale='log' if max(values) > 3 * min(values) > 0 else 'linear')
    ax.grid(True, which='both', alpha=0.3)
    ax.legend()


def line_chart(lines: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> Figure:
    """Return a figure with the lines of :func:`lines_on`."""
    with mpl.rc_context(PLAIN):
        figure = Figure(figsize=(7, 3.5), layout='constrained')
        lines_on(figure.subplots(), lines, x, y)
    return figure


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG file."""
    out = io.BytesIO()
    figure.savefig(out, format='png', dpi=100)
    return out.getvalue()


def save(figure: Figure, path: str) -> None:
    """Write a figure into a file whose suffix decides its format.

    Raises:
      UserError: if there is no such format.
    """
    suffix = pathlib.PurePath(path).suffix.removeprefix('.').lower()
    pick(suffix, figure.canvas.get_supported_filetypes(), f'{path}: the format')
    out = io.BytesIO()
    figure.savefig(out, format=suffix, dpi=100)
    write_atomically(expanded(path), out.getvalue())


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> str:
    """Return the same lines as an SVG for a page."""
    with mpl.rc_context(STYLE):
        return _svg(line_chart(lines, x, y))


def by_class(
    entries: Mapping[str, Mapping[str, float]], class_names: Sequence[str], title: str, all_names: Sequence[str]
) -> str:
    """Return a chart with a bar for each model at each class that has a value.

    Args:
      entries: the value of each class, by the name of the model.
      class_names: in the order of the chart.
      title: of the chart.
      all_names: of all models on the page; the place of a model among them decides its colour, in every chart.
    """
    with mpl.rc_context(STYLE):
        classes = [c for c in class_names if any(c in values for values in entries.values())]
        figure = Figure(figsize=(max(7, 0.25 * len(classes) * len(entries)), 3), layout='constrained')
        ax = figure.subplots()
        width = 0.8 / len(entries)
        for i, (name, values) in enumerate(entries.items()):
            places = np.arange(len(classes)) + (i - (len(entries) - 1) / 2) * width
            ax.bar(
                places, [values.get(c, np.nan) for c in classes], width, label=name, color=f'C{all_names.index(name)}'
            )
        ax.set_xticks(range(len(classes)), classes, rotation=40, ha='right')
        ax.set_title(title, fontsize=10)
        ax.legend()
        return _svg(figure)


def confusions(matrices: Mapping[str, np.ndarray], class_names: Sequence[str]) -> str:
    """Return confusion matrices side by side, as percentages of each row; the numbers are shown if there are few classes."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5 * len(matrices), 4.6), layout='constrained')
        for ax, (name, counts) in zip(
            figure.subplots(1, len(matrices), squeeze=False)[0], matrices.items(), strict=True
        ):
            shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
            ax.imshow(shares, cmap='viridis', vmin=0, vmax=100)
            if len(class_names) <= 12:
                ax.set_xticks(range(len(class_names)), class_names, rotation=60, ha='right', fontsize=8)
                ax.set_yticks(range(len(class_names)), class_names, fontsize=8)
                for (i, j), share in np.ndenumerate(shares):
                    ax.text(
                        j, i, f'{share:.0f}', ha='center', va='center', fontsize=7, color='k' if share > 50 else 'w'
                    )
            ax.set_title(name, fontsize=10)
        return _svg(figure)


def intervals(rows: Sequence[tuple[str, float, float, float]], x: str, colours: Sequence[int]) -> str:
    """Return a chart of intervals.

    Args:
      rows: (name, value, low, high) of each interval, from top to bottom.
      x: label of the axis, on which zero is marked by a line.
      colours: the number of the colour of each interval.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 0.8 + 0.24 * len(rows)), layout='constrained')
        ax = figure.subplots()
        ax.axvline(0, color=INK, linewidth=0.8)
        for place, ((_, value, low, high), colour) in enumerate(zip(rows, colours, strict=True)):
            ax.plot([low, high], [place, place], color=f'C{colour}', linewidth=1.5)
            ax.plot([value], [place], 'o', color=f'C{colour}', markersize=4)
        ax.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize=8)
        ax.invert_yaxis()
        ax.set_xlabel(x)
        return _svg(figure)


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """A metric over two fields.

    Attributes:
      rows: the name of the field that varies over rows, and the value of each row.
      columns: the name of the field that varies over columns, and the value of each column.
      values: the metric, ``[rows, columns]``; NaN if it is not known.
    """

    rows: tuple[str, Sequence[str]]
    columns: tuple[str, Sequence[str]]
    values: np.ndarray


def heat_maps(maps: Sequence[HeatMap], lower_is_better: bool) -> str:
    """Return heat maps side by side, with a number in each cell; brighter cells are better."""
    with mpl.rc_context(STYLE):
        columns = min(3, len(maps))
        rows = math.ceil(len(maps) / columns)
        width = max(3.4, 1.2 + 0.8 * max(len(m.columns[1]) for m in maps))
        height = max(2.4, 1 + 0.5 * max(len(m.rows[1]) for m in maps))
        figure = Figure(figsize=(max(6.0, width * columns), height * rows), layout='constrained')
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, heat in zip(axes, maps, strict=False):
            goodness = -heat.values if lower_is_better else heat.values
            ax.imshow(np.ma.masked_invalid(goodness), cmap='viridis', aspect='auto')
            known = goodness[np.isfinite(goodness)]
            middle = (known.min() + known.max()) / 2 if known.size else 0
            for (i, j), value in np.ndenumerate(heat.values):
                if np.isfinite(value):
                    colour = 'k' if goodness[i, j] > middle else 'w'
                    ax.text(j, i, f'{value:.3g}', ha='center', va='center', fontsize=8, color=colour)
            ax.set_xticks(range(len(heat.columns[1])), heat.columns[1])
            ax.set_yticks(range(len(heat.rows[1])), heat.rows[1])
            ax.set(xlabel=heat.columns[0], ylabel=heat.rows[0])
        for ax in axes[len(maps) :]:
            ax.remove()
        return _svg(figure)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    with mpl.rc_context({'svg.hashsalt': 'jaxgen'}):
        figure.savefig(out, format='svg', transparent=True, metadata={'Date': None})
    text = out.getvalue()
    return text[text.index('<svg') :].replace(INK, 'currentColor')
