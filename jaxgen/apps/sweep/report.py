"""The end of a sweep: a table for the terminal, and one self-contained page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import numpy as np

from jaxgen.apps.compare.compare import differences
from jaxgen.apps.compare.report import METRICS
from jaxgen.apps.reports import plots
from jaxgen.apps.reports.pages import document, note, section, side, svg, table, text
from jaxgen.apps.sweep.grammar import show
from jaxgen.apps.sweep.plan import LOWER_IS_BETTER
from jaxgen.apps.sweep.results import Outcome, Results, Row, mean_and_deviation, ranked, verdict

MOST_CURVES = 12  # that can be told apart


def lines(results: Results) -> str:
    """The table as text, the verdict below it."""
    head, rows = _table(results, others=False)
    whole = [head, *rows]
    widths = [max(len(row[i]) for row in whole) for i in range(len(head) - 1)]
    shown = ('  '.join([*(f'{cell:{w}}' for cell, w in zip(row, widths, strict=False)), row[-1]]) for row in whole)
    return '\n'.join([*(line.rstrip() for line in shown), '', verdict(results)])


def page(results: Results) -> str:
    """The HTML."""
    title = f'Sweep of {", ".join(results.plan.labels.values())}'
    sections = [
        f'<p><strong>{text(verdict(results))}</strong></p>',
        _about(results),
        table(*_table(results, others=True)),
        ''.join(map(note, _notes(results))),
        _charts(results),
        _curves(results),
        _samples(results),
        _protocols(results),
    ]
    return document(title, ''.join(sections))


def _finished(results: Results) -> list[Outcome]:
    return [outcome for row in results.rows for outcome in row.outcomes if outcome.found]


def _first(row: Row) -> Outcome | None:
    """Of the first seed that finished."""
    return next((outcome for outcome in row.outcomes if outcome.found), None)


def _in_order(results: Results) -> list[Row]:
    """The best first; at the end those that cannot be ranked."""
    order = ranked(results)
    return order + [row for row in results.rows if row not in order]


def _about(results: Results) -> str:
    config, found = results.plan.config, _finished(results)
    steps = 'steps as its setting says' if 'train.steps' in results.plan.labels else f'{config.train.steps:,} steps'
    budget = f'{config.sweeps.images:,} images' if config.sweeps.images else steps
    seeds = f'{config.sweeps.seeds} seeds' if config.sweeps.seeds > 1 else 'one seed'
    better = 'lower' if results.figure in LOWER_IS_BETTER else 'higher'
    judged = ''
    if found:
        protocol = found[0].found['protocol']
        judged = (
            f', judged by {protocol["generated"]["count"]:,} images that it draws ({protocol["extractor"]["name"]})'
        )
    return (
        f'<p>{text(config.data.name)}; each model was trained for {budget}, with {seeds}{text(judged)}. '
        f'{text(results.figure)} decides: {better} is better. ± is the standard deviation over seeds, each of which '
        f'draws its own images. Settings of which a seed did not finish are not ranked.</p>'
    )


def _table(results: Results, others: bool) -> tuple[list[str], list[list[str]]]:
    """A head and a row for each setting, the best first.

    Args:
      others: whether the figures that do not decide are in it; the notes are if they are not.
    """
    rows = _in_order(results)
    columns = {'setting': [row.name for row in rows]}
    columns[results.figure] = [_cell(row.values(results.figure), '.4g') for row in rows]
    if others:
        for name, (path, form) in METRICS.items():
            if path not in (results.figure, 'kid_std'):
                columns[name] = [_cell(row.values(path), form) for row in rows]
    columns['last training loss'] = [_losses(row) for row in rows]
    columns['images/s'] = [_rate(row.rates()) for row in rows]
    columns['parameters'] = [', '.join(f'{part} {n:,}' for part, n in row.parameters().items()) for row in rows]
    if not others:
        columns['note'] = [row.note() for row in rows]
    known = {name: cells for name, cells in columns.items() if any(cells) or name == results.figure}
    return list(known), [list(cells) for cells in zip(*known.values(), strict=True)]


def _cell(values: Sequence[float], form: str) -> str:
    mean, deviation = mean_and_deviation(values)
    shown = '' if mean is None else format(mean, form)
    return shown if deviation is None else f'{shown} ± {format(deviation, form if form[-1] != "g" else ".2g")}'


def _losses(row: Row) -> str:
    named = row.losses().items()
    return ', '.join(f'{name.removeprefix("loss").strip("_")} {_cell(values, ".4f")}'.strip() for name, values in named)


def _rate(values: Sequence[float]) -> str:
    if not values:
        return ''
    rate = np.mean(values)
    return f'{rate:,.0f}' if rate >= 100 else f'{rate:.3g}'


def _notes(results: Results) -> list[str]:
    found = [outcome.found for outcome in _finished(results)]
    swept = {field.rpartition('.')[2] for field in results.plan.labels}
    other = [field for field in differences([f['protocol'] for f in found]) if field.rpartition('.')[2] not in swept]
    notes = [f'{row.name}: {row.note()}' for row in results.rows if row.note()]
    notes += [f'The protocols differ in {field}: compare with care.' for field in other]
    return notes + sorted({warning for f in found for warning in f['warnings']})


def _charts(results: Results) -> str:
    """Heat maps for each pair of the fields that have several values; bars where there is one such field."""
    figure = results.figure
    values = {field: list(dict.fromkeys(row.setting[field] for row in results.rows)) for field in results.plan.labels}
    several = [field for field in values if len(values[field]) > 1]
    if not any(row.values(figure) for row in results.rows):
        return ''
    if len(several) < 2:
        bars = [(row.name, *mean_and_deviation(row.values(figure))) for row in results.rows if row.values(figure)]
        picture = plots.bars({figure: [(name, mean, deviation or 0.0) for name, mean, deviation in bars]})
        return section('Chart', svg(picture, 'Means over seeds, whiskers standard deviations where there are several.'))
    maps = [
        plots.HeatMap(_axis(results, a, values[a]), _axis(results, b, values[b]), _means(results, a, b, values))
        for a, b in itertools.combinations(several, 2)
    ]
    caption = f'{figure}, means over seeds and over the fields that a map does not show; the brighter, the better.'
    blank = ' A blank cell has no run that finished.' if any(np.isnan(m.values).any() for m in maps) else ''
    return section('Heat maps', svg(plots.heat_maps(maps, figure in LOWER_IS_BETTER), caption + blank))


def _axis(results: Results, field: str, values: Sequence) -> tuple[str, list[str]]:
    return results.plan.labels[field], [show(value) for value in values]


def _means(results: Results, a: str, b: str, values: dict[str, list]) -> np.ndarray:
    """``[values of a, values of b]``; NaN where no run finished."""
    means = np.full((len(values[a]), len(values[b])), np.nan)
    for (i, x), (j, y) in itertools.product(enumerate(values[a]), enumerate(values[b])):
        rows = [row.values(results.figure) for row in results.rows if (row.setting[a], row.setting[b]) == (x, y)]
        of_settings = [np.mean(row) for row in rows if row]
        if of_settings:
            means[i, j] = np.mean(of_settings)
    return means


def _curves(results: Results) -> str:
    """The losses of the first seed of each model that finished."""
    curves = {}
    for row in _in_order(results):
        outcome = _first(row)
        for metric in row.losses():
            name = ' '.join(filter(None, [outcome.run.name, metric.removeprefix('loss').strip('_')]))
            images = outcome.run.config.data.batch_size
            points = [(line['step'] * images, line[metric]) for line in outcome.log]
            curves.setdefault(name or 'loss', points)  # settings that only draw in other ways share it
    if not curves:
        return ''
    shown = dict(itertools.islice(curves.items(), MOST_CURVES))
    left_out = f' Of {len(curves)} curves, those of the best settings.' if len(shown) < len(curves) else ''
    caption = (
        f'The first seed of each setting.{left_out} Losses compare only where the swept fields do not define them.'
    )
    return section('Training', svg(plots.curves(shown, 'training images', 'loss'), caption))


def _samples(results: Results) -> str:
    grids = []
    for row in _in_order(results):
        outcome = _first(row)
        if outcome and outcome.samples.exists():
            figure = _cell(row.values(results.figure), '.4g')
            caption = f'{row.name}, seed {outcome.run.seed} ({results.figure} {figure})'
            grids.append((caption, outcome.samples.read_bytes()))
    caption = '<p>The best first: the first of the images that were judged. One seed draws from one noise.</p>'
    return section('Samples', caption + side(grids)) if grids else ''


def _protocols(results: Results) -> str:
    parts = []
    for row in results.rows:
        protocols = [outcome.found['protocol'] for outcome in row.outcomes if outcome.found]
        if protocols:
            shown = text(json.dumps(protocols, indent=2))
            parts.append(f'<details><summary>{text(row.name)}</summary><pre>{shown}</pre></details>')
    return section('Protocols', ''.join(parts)) if parts else ''
