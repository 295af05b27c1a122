"""Charts as SVG in the text colour of the page, so that they are legible in light and dark.

Pages show an SVG at its own size, at which no text is smaller than 9 pt. The colours are those of Okabe and Ito (2008), which
colour-blind people can tell apart; lines with few points also differ in their markers.
"""

from __future__ import annotations

import dataclasses
import io
import math
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import LogFormatter, MaxNLocator

from jaxgen.errors import pick
from jaxgen.io.files import write_atomically
from jaxgen.schema import expanded

INK = '#010203'  # placeholder for the text colour of the page, replaced when the SVG is written
GREY = '#8a8a8a'
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
BROAD, NARROW = 6.3, 3.65  # inches: widths of the charts of wide and of narrow windows, 605 and 350 pixels
FILE = 6.6  # inches: width of a chart in a file of its own, 660 pixels
TITLE = 38  # characters of a title that fit into a line of the narrow width
AXIS = 34  # characters of the name of an axis that fit into a line of the narrow width
PLAIN: Any = {
    'text.parse_math': False,  # a $ in a name does not begin a formula
    'font.size': 10,
    'axes.titlesize': 10,
    **dict.fromkeys(('xtick.labelsize', 'ytick.labelsize', 'legend.fontsize'), 9),
    'axes.spines.top': False,
    'axes.spines.right': False,
    'legend.frameon': False,
    'axes.prop_cycle': cycler(linestyle=('-', '--', ':')) * cycler(color=COLOURS),
}
STYLE: Any = {
    **PLAIN,
    'svg.fonttype': 'none',
    'font.family': 'sans-serif',
    **dict.fromkeys(('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color'), INK),
}
MARKERS = 'osD^v<>Pp*Xh'
Points = Sequence[tuple[float, float]]


def bars(metrics: Mapping[str, Sequence[tuple[str, float, float]]], weak: Mapping[str, str] | None = None) -> str:
    """Return a small chart for each metric, with a bar for each (name, mean, deviation).

    Args:
      metrics: the bars of each chart, by its title.
      weak: why a metric says little, by its title; its bars are grey, and the title has the reason.
    """
    reasons = weak or {}
    with mpl.rc_context(STYLE):
        columns = min(3, len(metrics))
        rows = math.ceil(len(metrics) / columns)
        titles = {title: _title(title, reasons.get(title)) for title in metrics}
        lines = max(title.count('\n') for title in titles.values())
        height = 0.75 + 0.3 * max(map(len, metrics.values())) + 0.17 * lines
        figure = Figure(figsize=(NARROW * columns, height * rows), layout='constrained')
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, (title, entries) in zip(axes, metrics.items(), strict=False):
            names, means, deviations = zip(*entries, strict=True)
            colours = [GREY if title in reasons else COLOURS[i % len(COLOURS)] for i in range(len(names))]
            ax.barh(range(len(names)), means, xerr=deviations if any(deviations) else None, color=colours, ecolor=INK)
            ax.set_yticks(range(len(names)), names)
            ax.invert_yaxis()
            ax.xaxis.set_major_locator(MaxNLocator(3))
            _set_title(ax, titles[title], spans_figure=len(metrics) == 1)
        for ax in axes[len(metrics) :]:
            ax.remove()
        return _svg(figure)


def _title(*parts: str | None) -> str:
    """Return a title in which each part begins a new line and is wrapped."""
    return '\n'.join(textwrap.fill(part, TITLE) for part in parts if part)


def _set_title(ax: Axes, title: str, spans_figure: bool = True) -> None:
    """Write the title of a panel at the left edge of the panel, or of the whole figure, which has more room."""
    if spans_figure:
        cast(Figure, ax.figure).suptitle(title, x=0.01, ha='left')
    else:
        ax.set_title(title, loc='left')


class _PlainNumbers(LogFormatter):
    """A formatter of logarithmic axes that writes 0.03 where matplotlib writes a formula."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the text of a tick; empty if matplotlib would omit it."""
        return f'{x:g}' if super().__call__(x, pos) else ''


def lines_on(ax: Axes, lines: Mapping[str, Points], x: str, y: str) -> None:
    """Plot lines of (x, y).

    The y axis is logarithmic if all values are positive and the largest is more than three times the smallest.
    """
    for number, (name, points) in enumerate(lines.items()):
        marker = MARKERS[number % len(MARKERS)] if len(points) < 20 else None
        ax.plot(*zip(*points, strict=True), label=name, marker=marker, markersize=4)
    values = [value for points in lines.values() for _, value in points]
    ax.set(xlabel=textwrap.fill(x, AXIS), ylabel=textwrap.fill(y, AXIS))
    ax.set_yscale('log' if max(values) > 3 * min(values) > 0 else 'linear')
    if ax.get_yscale() == 'log':
        ax.yaxis.set_major_formatter(_PlainNumbers())
        ax.yaxis.set_minor_formatter(_PlainNumbers(minor_thresholds=(2, 0.5)))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.grid(True, alpha=0.3)
    ax.grid(True, which='minor', alpha=0.1)


def side_by_side(panels: Sequence[tuple[Mapping[str, Points], str, str]]) -> Figure:
    """Return a figure with a panel for each (lines, x, y), and one legend; the lines of all panels have the same names."""
    with mpl.rc_context(PLAIN):
        figure = Figure(figsize=(FILE / 2 * max(2, len(panels)), 3.4), layout='constrained')
        for ax, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            lines_on(ax, *panel)
        figure.legend(*ax.get_legend_handles_labels(), loc='outside lower left', ncols=len(panels[0][0]))
    return figure


def line_chart(lines: Mapping[str, Points], x: str, y: str, width: float = FILE) -> Figure:
    """Return a figure with the lines of :func:`lines_on`, and a legend below them if there are several.

    Args:
      lines: the points of each line.
      x: name of the horizontal axis.
      y: name of the vertical axis.
      width: width of the figure, in inches.
    """
    with mpl.rc_context(PLAIN):
        columns = max(1, int(width / (0.6 + 0.085 * max(map(len, lines)))))
        rows = math.ceil(len(lines) / columns) if len(lines) > 1 else 0
        figure = Figure(figsize=(width, 3 + 0.2 * rows), layout='constrained')
        lines_on(figure.subplots(), lines, x, y)
        if rows:
            figure.legend(loc='outside lower left', ncols=columns)
    return figure


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG file."""
    out = io.BytesIO()
    figure.savefig(out, format='png', dpi=100)
    return out.getvalue()


def save(figure: Figure, path: str) -> None:
    """Write a figure to a file whose suffix decides the format.

    Raises:
      UserError: if there is no such format.
    """
    suffix = pathlib.PurePath(path).suffix.removeprefix('.').lower()
    pick(suffix, figure.canvas.get_supported_filetypes(), f'{path}: the format')
    out = io.BytesIO()
    figure.savefig(out, format=suffix, dpi=100)
    write_atomically(expanded(path), out.getvalue())


def curves(lines: Mapping[str, Points], x: str, y: str, width: float = BROAD) -> str:
    """Return a chart of lines as an SVG for a page; see ``line_chart`` for the arguments."""
    with mpl.rc_context(STYLE):
        return _svg(line_chart(lines, x, y, width))


def by_class(
    entries: Mapping[str, Mapping[str, float]],
    class_names: Sequence[str],
    title: str,
    all_names: Sequence[str],
    *,
    weak: str = '',
) -> str:
    """Return a chart with a bar for each class and model.

    Args:
      entries: the value of each class, by the name of the model.
      class_names: the classes from top to bottom; those without a value are left out.
      title: the title of the chart.
      all_names: the names of all models on the page; the index of a model among them decides its colour in every chart.
      weak: why the metric says little; if set, the bars are pale and the title has the reason.
    """
    with mpl.rc_context(STYLE):
        classes = [c for c in class_names if any(c in values for values in entries.values())]
        figure = Figure(figsize=(NARROW, 1 + (0.12 + 0.12 * len(entries)) * len(classes)), layout='constrained')
        ax = figure.subplots()
        height = 0.8 / len(entries)
        for i, (name, values) in enumerate(entries.items()):
            places = np.arange(len(classes)) + (i - (len(entries) - 1) / 2) * height
            lengths = [values.get(c, np.nan) for c in classes]
            colour = COLOURS[all_names.index(name) % len(COLOURS)]
            ax.barh(places, lengths, height, label=name, color=colour, alpha=0.5 if weak else 1)
        ax.set_yticks(range(len(classes)), classes)
        ax.set_ylim(len(classes) - 0.4, -0.6)
        _set_title(ax, _title(title, weak))
        if len(all_names) > 1:
            figure.legend(loc='outside lower left', ncols=1 if max(map(len, entries)) > 20 else 2)
        return _svg(figure)


def confusion(name: str, counts: np.ndarray, class_names: Sequence[str]) -> str:
    """Return a confusion matrix as percentages of each row; the numbers are shown if there are few classes.

    Args:
      name: the title.
      counts: number of images of each class (row) that are recognised as each class (column), int ``[K, K]``.
      class_names: the names of the K classes.
    """
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    has_few = len(class_names) <= 12
    with mpl.rc_context(STYLE):
        side = 0.29 * len(class_names) if has_few else 2.6
        figure = Figure(figsize=(max(NARROW, side + 0.9), max(NARROW, side + 0.9) + 0.7), layout='constrained')
        ax = figure.subplots()
        image = ax.imshow(shares, cmap='viridis', vmin=0, vmax=100)
        if has_few:
            ax.set_xticks(range(len(class_names)), class_names, rotation=90)
            ax.set_yticks(range(len(class_names)), class_names)
            for (i, j), share in np.ndenumerate(shares):
                ax.text(j, i, f'{share:.0f}', ha='center', va='center', fontsize=9, color='k' if share > 50 else 'w')
        ax.set(xlabel='recognised as', ylabel='asked for' if has_few else 'asked for (number of the class)')
        figure.colorbar(image, ax=ax, location='bottom', label='share of the row, %', aspect=40, pad=0.02)
        _set_title(ax, _title(name))
        return _svg(figure)


def intervals(
    rows: Sequence[tuple[str, float, float, float]], x: str, groups: Sequence[str], title: str, width: float = BROAD
) -> str:
    """Return a chart of intervals.

    Args:
      rows: (name, value, low, high) of each interval, from top to bottom.
      x: label of the horizontal axis; a line marks zero.
      groups: the group of each interval; each group has a colour, a marker and an entry in the legend.
      title: the title of the chart.
      width: width of the figure, in inches.
    """
    kinds = list(dict.fromkeys(groups))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, 1.3 + 0.21 * len(rows)), layout='constrained')
        ax = figure.subplots()
        ax.axvline(0, color=INK, linewidth=0.8)
        for kind, colour, marker in zip(kinds, COLOURS, MARKERS, strict=False):
            own = [(place, row) for place, (row, group) in enumerate(zip(rows, groups, strict=True)) if group == kind]
            places, values = [place for place, _ in own], [row[1] for _, row in own]
            ax.hlines(places, [row[2] for _, row in own], [row[3] for _, row in own], color=colour, linewidth=1.5)
            ax.plot(values, places, marker, color=colour, markersize=4, label=kind)
        ax.set_yticks(range(len(rows)), [name for name, *_ in rows])
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.set_xlabel(x)
        _set_title(ax, _title(title))
        if len(kinds) > 1:
            figure.legend(loc='outside lower left', ncols=2)
        return _svg(figure)


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """A metric over two fields.

    Attributes:
      rows: the name of the field that varies over rows, and its value in each row.
      columns: the name of the field that varies over columns, and its value in each column.
      values: the metric, ``[rows, columns]``; NaN if it is not known.
      label: the name of the metric, for the colour bar.
      title: the title of the map.
      lower_is_better: whether smaller values are brighter.
    """

    rows: tuple[str, Sequence[str]]
    columns: tuple[str, Sequence[str]]
    values: np.ndarray
    label: str
    title: str = ''
    lower_is_better: bool = False


def heat_map(heat: HeatMap) -> str:
    """Return a heat map with a number in each cell and a colour bar; brighter cells are better."""
    names = max(map(len, heat.rows[1]))
    is_long = max(map(len, heat.columns[1])) > 7
    cell = 0.1 + 0.075 * max(len(f'{value:.3g}') for value in heat.values.flat)
    width = max(NARROW, 0.7 + 0.075 * names + cell * len(heat.columns[1]))
    height = 1.7 + 0.3 * len(heat.rows[1]) + 0.07 * is_long * max(map(len, heat.columns[1]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout='constrained')
        ax = figure.subplots()
        colours = 'viridis_r' if heat.lower_is_better else 'viridis'
        image = ax.imshow(np.ma.masked_invalid(heat.values), cmap=colours, aspect='auto')
        for (i, j), value in np.ndenumerate(heat.values):
            if np.isfinite(value):
                is_bright = image.cmap(image.norm(value))[1] > 0.45  # brighter colours of viridis have more green
                colour = 'k' if is_bright else 'w'
                ax.text(j, i, f'{value:.3g}', ha='center', va='center', fontsize=9, color=colour)
        ax.set_xticks(range(len(heat.columns[1])), heat.columns[1], rotation=90 if is_long else 0)
        ax.set_yticks(range(len(heat.rows[1])), heat.rows[1])
        ax.set(xlabel=heat.columns[0], ylabel=heat.rows[0])
        figure.colorbar(image, ax=ax, location='bottom', label=heat.label, aspect=40, pad=0.02, ticks=MaxNLocator(4))
        if heat.title:
            _set_title(ax, _title(heat.title))
        return _svg(figure)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    with mpl.rc_context({'svg.hashsalt': 'jaxgen'}):
        figure.savefig(out, format='svg', transparent=True, metadata={'Date': None})
    text = out.getvalue()
    return text[text.index('<svg') :].replace(INK, 'currentColor')
