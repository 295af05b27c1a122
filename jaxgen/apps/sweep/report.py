"""The report of a sweep: a table for the terminal, and one self-contained HTML page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence

import numpy as np

from jaxgen.apps.compare.compare import difference_notes, differences
from jaxgen.apps.compare.report import METRICS
from jaxgen.apps.evaluate.results import titled
from jaxgen.apps.reports import plots
from jaxgen.apps.reports.pages import document, note, section, side, svg, table, text
from jaxgen.apps.sweep.grammar import show
from jaxgen.apps.sweep.options import LOWER_IS_BETTER
from jaxgen.apps.sweep.results import Outcome, Results, SettingResult, mean_and_deviation, ranked, verdict
from jaxgen.io.run_directory import points
from jaxgen.types import Fields, JsonObject

MOST_CURVES = 12  # number of curves that can be told apart


def lines(results: Results) -> str:
    """Return the table as text, with the verdict below it."""
    head, rows = _table(results, others=False)
    cells = [head, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head) - 1)]
    shown = ('  '.join([*(f'{cell:{w}}' for cell, w in zip(row, widths, strict=False)), row[-1]]) for row in cells)
    return '\n'.join([*(line.rstrip() for line in shown), '', verdict(results)])


def page(results: Results) -> str:
    """Return the HTML page."""
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


def _found(results: Results) -> list[JsonObject]:
    """Return what was found of each outcome that finished."""
    return [outcome.found for setting in results.settings for outcome in setting.outcomes if outcome.found]


def _first(setting: SettingResult) -> Outcome | None:
    """Return the outcome of the first seed that finished."""
    return next((outcome for outcome in setting.outcomes if outcome.found), None)


def _in_order(results: Results) -> list[SettingResult]:
    """Return the settings, the best first and those that cannot be ranked last."""
    order = ranked(results)
    return order + [setting for setting in results.settings if setting not in order]


def _about(results: Results) -> str:
    config, found = results.plan.config, _found(results)
    steps = 'steps as its setting says' if 'train.steps' in results.plan.labels else f'{config.train.steps:,} steps'
    budget = steps if config.sweep.images is None else f'{config.sweep.images:,} images'
    seeds = f'{config.sweep.seeds} seeds' if config.sweep.seeds > 1 else 'one seed'
    better = 'lower' if results.metric in LOWER_IS_BETTER else 'higher'
    evaluated = ''
    if found:
        protocol = found[0]['protocol']
        evaluated = f', and evaluated with {protocol["generated"]["count"]:,} samples ({protocol["extractor"]["name"]})'
    return (
        f'<p>{text(config.data.title)}; each model was trained for {budget}, with {seeds}{text(evaluated)}. '
        f'{text(results.metric)} decides: {better} is better. ± is the standard deviation over seeds, each of which '
        f'has its own samples. Settings of which a seed did not finish are not ranked.</p>'
    )


def _table(results: Results, others: bool) -> tuple[list[str], list[list[str]]]:
    """Return a head and a row for each setting, the best first.

    Args:
      results: the results of the sweep.
      others: whether to show the metrics that do not decide; the notes are shown if not.
    """
    settings = _in_order(results)
    protocol: Fields = next((one['protocol'] for one in _found(results)), {})
    columns = {'setting': [setting.name for setting in settings]}
    columns[results.metric] = [_cell(setting.values(results.metric), '.4g') for setting in settings]
    if others:
        for name, (path, form) in METRICS.items():
            if path not in (results.metric, 'kid_std'):
                columns[titled(name, protocol)] = [_cell(setting.values(path), form) for setting in settings]
    columns['last training loss'] = [_losses(setting) for setting in settings]
    columns['images/s'] = [_rate(setting.rates()) for setting in settings]
    columns['parameters'] = [_parameters(setting) for setting in settings]
    if not others:
        columns['note'] = [setting.note() for setting in settings]
    known = {name: cells for name, cells in columns.items() if any(cells) or name == results.metric}
    return list(known), [list(cells) for cells in zip(*known.values(), strict=True)]


def _cell(values: Sequence[float], form: str) -> str:
    if not values:
        return ''
    mean, deviation = mean_and_deviation(values)
    shown = format(mean, form)
    return shown if deviation is None else f'{shown} ± {format(deviation, form if form[-1] != "g" else ".2g")}'


def _losses(setting: SettingResult) -> str:
    named = setting.losses().items()
    return ', '.join(f'{name.removeprefix("loss").strip("_")} {_cell(values, ".4f")}'.strip() for name, values in named)


def _parameters(setting: SettingResult) -> str:
    return ', '.join(f'{network} {count:,}' for network, count in setting.parameters().items())


def _rate(values: Sequence[float]) -> str:
    if not values:
        return ''
    rate = np.mean(values)
    return f'{rate:,.0f}' if rate >= 100 else f'{rate:.3g}'


def _notes(results: Results) -> list[str]:
    found = _found(results)
    swept = {field.rpartition('.')[2] for field in results.plan.labels}
    other = [field for field in differences([f['protocol'] for f in found]) if field.rpartition('.')[2] not in swept]
    notes = [f'{setting.name}: {setting.note()}' for setting in results.settings if setting.note()]
    notes += difference_notes(other)
    return notes + sorted({warning for f in found for warning in f['warnings']})


def _charts(results: Results) -> str:
    """Return heat maps for each pair of the fields that have several values; bars if there is only one such field."""
    if not any(setting.values(results.metric) for setting in results.settings):
        return ''
    values = {
        field: list(dict.fromkeys(setting.setting[field] for setting in results.settings))
        for field in results.plan.labels
    }
    several = [field for field in values if len(values[field]) > 1]
    if len(several) < 2:
        return section('Chart', _bars(results))
    maps = [
        plots.HeatMap(_axis(results, a, values[a]), _axis(results, b, values[b]), _means(results, a, b, values))
        for a, b in itertools.combinations(several, 2)
    ]
    caption = f'{results.metric}, means over seeds and over the fields that a map does not show; brighter is better.'
    blank = ' A blank cell has no run that finished.' if any(np.isnan(m.values).any() for m in maps) else ''
    return section('Heat maps', svg(plots.heat_maps(maps, results.metric in LOWER_IS_BETTER), caption + blank))


def _bars(results: Results) -> str:
    bars = []
    for setting in results.settings:
        values = setting.values(results.metric)
        if values:
            mean, deviation = mean_and_deviation(values)
            bars.append((setting.name, mean, deviation or 0.0))
    caption = 'Means over seeds; the whiskers are standard deviations if there are several seeds.'
    return svg(plots.bars({results.metric: bars}), caption)


def _axis(results: Results, field: str, values: Sequence[object]) -> tuple[str, list[str]]:
    return results.plan.labels[field], [show(value) for value in values]


def _means(results: Results, a: str, b: str, values: Mapping[str, Sequence[object]]) -> np.ndarray:
    """Return the means of the deciding metric, ``[values of a, values of b]``; NaN where no run finished."""
    means = np.full((len(values[a]), len(values[b])), np.nan)
    for (i, x), (j, y) in itertools.product(enumerate(values[a]), enumerate(values[b])):
        cell = [setting for setting in results.settings if (setting.setting[a], setting.setting[b]) == (x, y)]
        of_settings = [np.mean(metric) for metric in (s.values(results.metric) for s in cell) if metric]
        if of_settings:
            means[i, j] = np.mean(of_settings)
    return means


def _curves(results: Results) -> str:
    """Return a plot of the losses of the first seed of each model that finished."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for setting in _in_order(results):
        outcome = _first(setting)
        if outcome is None:
            continue
        for metric in setting.losses():
            name = ' '.join(filter(None, [outcome.run.name, metric.removeprefix('loss').strip('_')]))
            batch_size = outcome.run.config.data.batch_size
            known = [(step * batch_size, value) for step, value in points(outcome.log, metric)]
            curves.setdefault(name or 'loss', known)  # settings that differ only in how they sample share a curve
    if not curves:
        return ''
    shown = dict(itertools.islice(curves.items(), MOST_CURVES))
    left_out = f' Of {len(curves)} curves, those of the best settings.' if len(shown) < len(curves) else ''
    caption = (
        f'The first seed of each setting.{left_out} Losses can be compared only if the swept fields do not define them.'
    )
    return section('Training', svg(plots.curves(shown, 'training images', 'loss'), caption))


def _samples(results: Results) -> str:
    grids = []
    for setting in _in_order(results):
        outcome = _first(setting)
        if outcome and outcome.samples.exists():
            metric = _cell(setting.values(results.metric), '.4g')
            caption = f'{setting.name}, seed {outcome.run.seed} ({results.metric} {metric})'
            grids.append((caption, outcome.samples.read_bytes()))
    caption = '<p>The best setting first: the first of its evaluated samples. The same seed means the same noise.</p>'
    return section('Samples', caption + side(grids)) if grids else ''


def _protocols(results: Results) -> str:
    parts = []
    for setting in results.settings:
        protocols = [outcome.found['protocol'] for outcome in setting.outcomes if outcome.found]
        if protocols:
            shown = text(json.dumps(protocols, indent=2))
            parts.append(f'<details><summary>{text(setting.name)}</summary><pre>{shown}</pre></details>')
    return section('Protocols', ''.join(parts)) if parts else ''
