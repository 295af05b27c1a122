"""The report of a sweep: a table for the terminal, and one self-contained HTML page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence

import numpy as np

from jaxgen.apps.compare.compare import difference_notes, differences
from jaxgen.apps.reports import plots, words
from jaxgen.apps.reports.pages import (
    beside,
    charts,
    charts_by_width,
    document,
    note,
    section,
    side_of_files,
    table,
    text,
)
from jaxgen.apps.sweep.grammar import Setting, show
from jaxgen.apps.sweep.results import Outcome, Results, SettingResult, mean_and_deviation, ranked, verdict
from jaxgen.io.run_directory import points
from jaxgen.types import JsonObject

MOST_CURVES = 12  # largest number of curves that a reader can tell apart


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
        beside(table(*_table(results, others=True), _weak(results)), ''.join(map(note, _notes(results)))),
        _charts(results),
        _curves(results),
        _samples(results),
        _protocols(results),
    ]
    return document(title, ''.join(sections))


def _found(results: Results) -> list[JsonObject]:
    """Return the results of all finished outcomes."""
    return [outcome.found for setting in results.settings for outcome in setting.outcomes if outcome.found]


def _title(results: Results) -> str:
    """Return the name of the deciding metric."""
    return words.title(results.metric, results.protocol)


def _weak(results: Results) -> dict[str, str]:
    """Return the reasons why metrics say little, by their names."""
    return {words.title(path, results.protocol): why for path, why in results.weak.items()}


def _in_words(setting: Setting, *, sampling: bool = True) -> str:
    """Return a setting in words, for charts.

    Args:
      setting: the values of the swept fields.
      sampling: whether to include the fields that only decide how images are sampled.
    """
    known = {field: value for field, value in setting.items() if sampling or not field.startswith('sample.')}
    return ', '.join(words.entry(field, _plain(value)) for field, value in known.items())


def _plain(value: object) -> object:
    return show(value) if isinstance(value, tuple) else value


def _first(setting: SettingResult) -> Outcome | None:
    """Return the outcome of the first finished seed."""
    return next((outcome for outcome in setting.outcomes if outcome.found), None)


def _in_order(results: Results) -> list[SettingResult]:
    """Return the settings, with the best one first and those without a rank last."""
    order = ranked(results)
    return order + [setting for setting in results.settings if setting not in order]


def _about(results: Results) -> str:
    config, found = results.plan.config, _found(results)
    steps = 'the steps of its setting' if 'train.steps' in results.plan.labels else f'{config.train.steps:,} steps'
    budget = steps if config.sweep.images is None else f'{config.sweep.images:,} images'
    seeds = f'{config.sweep.seeds} seeds' if config.sweep.seeds > 1 else 'one seed'
    better = words.METRICS[results.metric].better
    evaluated = ''
    if found:
        protocol = found[0]['protocol']
        evaluated = f', and evaluated with {protocol["generated"]["count"]:,} samples ({protocol["extractor"]["name"]})'
    return (
        f'<p>{text(config.data.title)}; each model was trained for {budget}, with {seeds}{text(evaluated)}. '
        f'{text(_title(results))} decides: {better} is better. ± is the standard deviation over seeds, each of which has its '
        f'own samples. A setting is ranked only if all its seeds have finished.</p>'
    )


def _table(results: Results, others: bool) -> tuple[list[str], list[list[str]]]:
    """Return a head and a row for each setting, the best first.

    Args:
      results: the results of the sweep.
      others: whether to show the metrics that do not decide; if not, the notes are shown instead.
    """
    settings, protocol = _in_order(results), results.protocol
    deciding = _title(results)
    columns = {'setting': [setting.name for setting in settings]}
    columns[deciding] = [_cell(setting.values(results.metric), '.4g') for setting in settings]
    if others:
        for path, metric in words.METRICS.items():
            if path not in (results.metric, 'kid_std'):
                columns[words.title(path, protocol)] = [
                    _cell(setting.values(path), metric.form) for setting in settings
                ]
    columns['last training loss'] = [_losses(setting) for setting in settings]
    columns['images/s'] = [_rate(setting.rates()) for setting in settings]
    columns['parameters'] = [_parameters(setting) for setting in settings]
    if not others:
        columns['note'] = [setting.note() for setting in settings]
    known = {name: cells for name, cells in columns.items() if any(cells) or name == deciding}
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
    found, weak = _found(results), results.weak.get(results.metric)
    swept = {field.rpartition('.')[2] for field in results.plan.labels}
    other = [field for field in differences([f['protocol'] for f in found]) if field.rpartition('.')[2] not in swept]
    notes = [f'{setting.name}: {setting.note()}' for setting in results.settings if setting.note()]
    if weak:
        notes.append(f'{_title(results)} decides, but says little here. {weak.capitalize()}.')
    notes += difference_notes(other)
    return notes + sorted({warning for f in found for warning in f['warnings']})


def _charts(results: Results) -> str:
    """Return a heat map for each pair of fields with several values; bars if there is only one such field."""
    if sum(bool(setting.values(results.metric)) for setting in results.settings) < 2:
        return ''  # nothing to compare
    values = {
        field: list(dict.fromkeys(setting.setting[field] for setting in results.settings))
        for field in results.plan.labels
    }
    several = [field for field in values if len(values[field]) > 1]
    if len(several) < 2:
        return section('Chart', _bars(results))
    label = words.axis(results.metric, results.protocol)
    maps = [
        plots.HeatMap(
            _axis(a, values[a]),
            _axis(b, values[b]),
            _means(results, a, b, values),
            label,
            f'{words.setting(a)} and {words.setting(b)}',
            words.lower_is_better(results.metric),
        )
        for a, b in itertools.combinations(several, 2)
    ]
    caption = 'Means over seeds and over the fields that a map does not show; brighter is better.'
    blank = ' A blank cell has no finished run.' if any(np.isnan(m.values).any() for m in maps) else ''
    return section('Heat maps', charts([plots.heat_map(heat) for heat in maps], caption + blank))


def _bars(results: Results) -> str:
    bars = []
    for setting in results.settings:
        values = setting.values(results.metric)
        if values:
            mean, deviation = mean_and_deviation(values)
            bars.append((_in_words(setting.setting), mean, deviation or 0.0))
    caption = 'The value of one seed.'
    if results.plan.config.sweep.seeds > 1:
        caption = 'Means over seeds; the thin lines at the ends of bars are standard deviations.'
    title, why = words.axis(results.metric, results.protocol), results.weak.get(results.metric)
    return charts([plots.bars({title: bars}, {title: why} if why else {})], caption)


def _axis(field: str, values: Sequence[object]) -> tuple[str, list[str]]:
    return words.setting(field), [words.value(field, _plain(value)) for value in values]


def _means(results: Results, a: str, b: str, values: Mapping[str, Sequence[object]]) -> np.ndarray:
    """Return the means of the deciding metric, ``[values of a, values of b]``; NaN where no run has finished."""
    means = np.full((len(values[a]), len(values[b])), np.nan)
    for (i, x), (j, y) in itertools.product(enumerate(values[a]), enumerate(values[b])):
        cell = [setting for setting in results.settings if (setting.setting[a], setting.setting[b]) == (x, y)]
        of_settings = [np.mean(metric) for metric in (s.values(results.metric) for s in cell) if metric]
        if of_settings:
            means[i, j] = np.mean(of_settings)
    return means


def _curves(results: Results) -> str:
    """Return a plot of the losses of the first finished seed of each model."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for setting in _in_order(results):
        outcome = _first(setting)
        if outcome is None:
            continue
        for metric in setting.losses():
            trained = _in_words(setting.setting, sampling=False)
            name = ' '.join(filter(None, [trained, metric.removeprefix('loss').strip('_')]))
            batch_size = outcome.run.config.data.batch_size
            known = [(step * batch_size, value) for step, value in points(outcome.log, metric)]
            curves.setdefault(name or 'loss', known)  # settings that differ only in how they sample share a curve
    if not curves:
        return ''
    shown = dict(itertools.islice(curves.items(), MOST_CURVES))
    left_out = f' Only the {len(shown)} best of {len(curves)} curves are shown.' if len(shown) < len(curves) else ''
    caption = (
        f'The first seed of each setting.{left_out} Losses can be compared only if the swept fields do not define them.'
    )
    axes = 'training images', 'training loss'
    both = plots.curves(shown, *axes), plots.curves(shown, *axes, plots.NARROW)
    return section('Training', charts_by_width([both], caption))


def _samples(results: Results) -> str:
    found = []
    for setting in _in_order(results):
        outcome = _first(setting)
        if outcome and outcome.samples.exists():
            metric = f'{_title(results)} {_cell(setting.values(results.metric), ".4g")}'
            found.append((f'{setting.name}, seed {outcome.run.seed} ({metric})', outcome.samples.read_bytes()))
    caption = '<p>The first evaluated samples of each setting, the best setting first. The same seed means the same noise.</p>'
    return section('Samples', caption + side_of_files(found)) if found else ''


def _protocols(results: Results) -> str:
    parts = []
    for setting in results.settings:
        protocols = [outcome.found['protocol'] for outcome in setting.outcomes if outcome.found]
        if protocols:
            shown = text(json.dumps(protocols, indent=2))
            parts.append(f'<details><summary>{text(setting.name)}</summary><pre>{shown}</pre></details>')
    return section('Protocols', ''.join(parts)) if parts else ''
