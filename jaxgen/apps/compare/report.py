"""A comparison as one self-contained page, without scripts, fonts or images from elsewhere."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxgen.apps.compare.compare import Comparison, Entry, difference_notes
from jaxgen.apps.evaluate.results import uses_classifier
from jaxgen.apps.reports import plots, weak_metrics, words
from jaxgen.apps.reports.pages import beside, charts, charts_by_width, document, note, section, side, table, text
from jaxgen.io import grids
from jaxgen.io.grids import Labels
from jaxgen.io.run_directory import points
from jaxgen.metrics.evaluator import FEW_PER_CLASS
from jaxgen.types import Fields

# The metrics that can decide which model is best, in order of preference
DECIDING = ('fid', 'kid', 'inception_score')
FEW_DEVIATIONS = 2  # standard deviations over seeds below which a lead may be noise


def page(comparison: Comparison) -> str:
    """Return the page as HTML."""
    entries = comparison.entries
    won = verdict(entries)
    sections = [
        f'<p><strong>{text(won)}</strong></p>' if won else '',
        _metrics(comparison),
        _charts(entries),
        _curves(entries),
        _by_class(comparison),
        section('Samples', _samples(comparison)),
        _neighbours(comparison),
        section('Protocols', ''.join(map(_protocol, entries))),
    ]
    *first, last = [entry.name for entry in entries]
    title = f'Comparison of {", ".join(first)} and {last}' if first else f'Evaluation of {last}'
    return document(f'{title}, {datetime.date.today().isoformat()}', ''.join(sections))


def verdict(entries: Sequence[Entry]) -> str:
    """Return a sentence on which model is best, by the first of FID, KID and Inception Score that enough images support.

    It is empty for a single model, and for models without any of these metrics.
    """
    weak = weak_metrics.reasons(result for entry in entries for result in entry.results)
    known = [path for path in DECIDING if all(values(entry, path) for entry in entries)]
    if len(entries) < 2 or not known:
        return ''
    path = next((path for path in known if path not in weak), known[0])
    sign = 1 if words.lower_is_better(path) else -1
    order = sorted(entries, key=lambda entry: sign * np.mean(values(entry, path)))
    title = words.axis(path, _protocol_of(entries))
    means = ', '.join(f'{entry.name} {_cell(entry, path)}' for entry in order)
    if path in weak:
        return f'No winner can be named ({weak[path]}). {title}: {means}.'
    return f'{order[0].name} has the best {title}: {means}.{_doubt(order[0], order[1], path)}'


def _doubt(best: Entry, second: Entry, path: str) -> str:
    """Return a warning if the lead of the best model may be noise, or if there is one seed; empty otherwise."""
    found = [values(entry, path) for entry in (best, second)]
    if min(map(len, found)) < 2:
        return ' With one seed of samples it is not known how much of the lead is noise.'
    pooled = np.sqrt(np.mean([np.var(over_seeds, ddof=1) for over_seeds in found]))
    is_small = abs(np.mean(found[0]) - np.mean(found[1])) < FEW_DEVIATIONS * pooled
    return ' The lead is so small that it may be noise: compare with more seeds.' if is_small else ''


def _metrics(comparison: Comparison) -> str:
    entries = comparison.entries
    protocol = _protocol_of(entries)
    rows = {words.title(path, protocol): [_cell(e, path) for e in entries] for path in words.METRICS}
    rows |= {name: [value(e) for e in entries] for name, value in FACTS.items()}
    known = [(name, *cells) for name, cells in rows.items() if any(cells)]
    reference = protocol['reference']
    source = ' '.join(str(reference[k]) for k in ('dataset', 'split', 'file', 'folder') if k in reference)
    notes = difference_notes(comparison.differences)
    notes += [warning for warning in _warnings(entries) if FEW_PER_CLASS not in warning]
    extractor, instead = protocol['extractor']['name'], ''
    if uses_classifier(protocol):
        instead = ', a classifier of jaxgen instead of Inception, so no value can be compared with published ones'
    return (
        f'<p>Reference: {text(source)}, {reference["count"]:,} of {reference["of"]:,} images. Each model generated '
        f'{protocol["generated"]["count"]:,} images ({_over(entries)}). Features: {text(extractor)}{instead}.</p>'
        + beside(table(['', *(e.name for e in entries)], known, _weak(entries, words.title)), ''.join(map(note, notes)))
    )


def _warnings(entries: Sequence[Entry]) -> list[str]:
    return sorted({warning for e in entries for result in e.results for warning in result['warnings']})


def _weak(entries: Sequence[Entry], name: Callable[[str, Fields], str]) -> dict[str, str]:
    """Return the reason for each unreliable metric by its name, which ``words.title`` or ``words.axis`` makes."""
    found = weak_metrics.reasons(result for entry in entries for result in entry.results)
    return {name(path, _protocol_of(entries)): why for path, why in found.items()}


def _protocol_of(entries: Sequence[Entry]) -> Fields:
    """Return the protocol of the first result; the models that are compared share its extractor and its reference."""
    return entries[0].results[0]['protocol']


def _over(entries: Sequence[Entry]) -> str:
    seeds = len(entries[0].results)
    return f'{seeds} seeds' if seeds > 1 else 'one seed, so the spread over seeds is not known'


def values(entry: Entry, path: str) -> list[Any]:
    """Return the values of a metric, one for each seed; empty if the results lack it.

    Args:
      entry: the model.
      path: the dotted path of the metric in a result.
    """
    found = []
    for result in entry.results:
        value: Any = result
        for part in path.split('.'):
            value = value.get(part) if isinstance(value, dict) else None
        found += [] if value is None else [value]
    return found


def _cell(entry: Entry, path: str) -> str:
    form, found = words.METRICS[path].form, values(entry, path)
    if not found:
        return no_value(path, entry.results[0])
    spread = f' ± {format(np.std(found, ddof=1), form)}' if len(found) > 1 else ''
    return format(np.mean(found), form) + spread


def no_value(path: str, result: Fields) -> str:
    """Return the cell of a metric that a result lacks: a note for a deviation that could not be estimated, or else empty."""
    return 'not estimated' if path == 'kid_std' and path in result else ''


def _generated(entry: Entry, field: str) -> Any:
    return entry.results[0]['protocol']['generated'].get(field, '')


FACTS = {
    'step': lambda e: f'{_generated(e, "step"):,}',
    'EMA': lambda e: 'yes' if _generated(e, 'ema') else 'no',
    'sampler': lambda e: words.value('sampler', _generated(e, 'sampler')),
    'network calls per image': lambda e: str(_generated(e, 'network_calls')),
    'guidance': lambda e: str(_generated(e, 'guidance_scale')),
    'parameters': lambda e: ', '.join(f'{part} {count:,}' for part, count in e.facts['parameters'].items()),
    'training images': lambda e: f'{e.facts["training_images"]:,}',
    'training steps/sec (median)': lambda e: _rate(e.facts['steps_per_sec']),
    'sampling images/sec': lambda e: _rate(e.facts['sampling_images_per_sec']),
}


def _rate(value: float | None) -> str:
    if value is None:
        return ''
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def _charts(entries: Sequence[Entry]) -> str:
    """Return a chart of each metric; nothing for a single model, since there is nothing to compare it with."""
    if len(entries) < 2:
        return ''
    weak = _weak(entries, words.axis)
    shown = [plots.bars({title: rows}, weak) for title, rows in _bars(entries).items()]
    seeds = len(entries[0].results)
    caption = 'Each bar is the value of one seed.'
    if seeds > 1:
        caption = f'Bars are means over {seeds} seeds; the thin lines at their ends are standard deviations.'
    if weak:
        caption += ' Grey: too few images to tell.'
    return section('Charts', charts(shown, caption)) if shown else ''


def _bars(entries: Sequence[Entry]) -> dict[str, list[tuple[str, float, float]]]:
    """Return (name, mean, deviation) of each model for every metric that all models have."""
    found = {}
    for path in words.METRICS:
        rows = []
        for entry in entries:
            over_seeds = values(entry, path)
            if over_seeds:
                spread = np.std(over_seeds, ddof=1) if len(over_seeds) > 1 else 0.0
                rows.append((entry.name, float(np.mean(over_seeds)), float(spread)))
        if len(rows) == len(entries) and path != 'kid_std':
            found[words.axis(path, _protocol_of(entries))] = rows
    return found


def _curves(entries: Sequence[Entry]) -> str:
    parts = []
    losses = {}
    for e in entries:
        per_step = e.facts['training_images'] / max(1, _generated(e, 'step'))
        for metric in [m for m in (e.log[0] if e.log else {}) if m.startswith('loss')]:
            label = e.name if metric == 'loss' else f'{e.name} {metric.removeprefix("loss_")}'
            known = [(step, value) for step, value in points(e.log, metric) if step <= _generated(e, 'step')]
            if known:
                losses[label] = [(step * per_step, value) for step, value in known]
    if losses:
        several = (
            'Losses of different methods measure different things: compare the shapes of the curves, not their values.'
        )
        parts.append(
            _lines(losses, 'training images', 'training loss', several if len(entries) > 1 else 'Training loss.')
        )
    history = {e.name: [(row['step'], row['fid']) for row in e.history] for e in entries if e.history}
    if history:
        names = {words.axis('fid', row['protocol']) for e in entries for row in e.history}
        counts = sorted({row['protocol']['generated']['count'] for e in entries for row in e.history})
        caption = (
            f'Measured during training with {" or ".join(map(str, counts))} images: do not compare it with the table.'
        )
        parts.append(_lines(history, words.setting('step'), ' or '.join(sorted(names)), caption))
    return section('Training', ''.join(parts))


def _lines(lines: dict[str, list[tuple[float, float]]], x: str, y: str, caption: str) -> str:
    return charts_by_width([(plots.curves(lines, x, y), plots.curves(lines, x, y, plots.NARROW))], caption)


def _by_class(comparison: Comparison) -> str:
    parts, all_names = [], [e.name for e in comparison.entries]
    weak = _weak(comparison.entries, words.axis)
    for path in words.BY_CLASS:
        rows = {e.name: values(e, path)[0] for e in comparison.entries if values(e, path)}
        if rows:
            title = words.axis(path, _protocol_of(comparison.entries))
            why = weak.get(title, '')
            parts.append(plots.by_class(rows, comparison.class_names, title, all_names, weak=why))
    shown = []
    if parts:
        first = ', from the first of the seeds' if len(comparison.entries[0].results) > 1 else ''
        shown.append(charts(parts, f'A bar for each class and model{first}.'))
    if any(values(e, 'fid_per_class') for e in comparison.entries):
        shown += [note(warning) for warning in _warnings(comparison.entries) if FEW_PER_CLASS in warning]
    confusions = [
        plots.confusion(e.name, np.array(values(e, 'judge.confusion')[0]), comparison.class_names)
        for e in comparison.entries
        if values(e, 'judge.confusion')
    ]
    if confusions:
        caption = 'Of the images requested of each class (rows), the share recognised as each class (columns).'
        shown.append(charts(confusions, caption))
    return section('By class', ''.join(shown))


def _samples(comparison: Comparison) -> str:
    real, names = comparison.real, comparison.class_names
    shown = [
        (f'samples of {e.name}', grids.by_class(e.images, e.labels, e.class_names, e.name)) for e in comparison.entries
    ]
    of_real = grids.by_class(real, comparison.real_labels, names, 'real, held out')
    return side([*shown, ('real images, held out', of_real)])


def _neighbours(comparison: Comparison) -> str:
    shown = []
    for e in comparison.entries:
        near = e.neighbours
        labels = Labels(e.name, rows=('sample', 'nearest training image'))
        pairs = grids.labelled(np.concatenate([near.best, near.nearest]), labels, columns=len(near.best))
        shown.append((f'samples of {e.name} and their nearest training images', pairs))
    quartiles = {e.name: e.neighbours.distances for e in comparison.entries}
    quartiles['real, held out'] = comparison.real_distances
    rows = [(name, *_quartiles(distances)) for name, distances in quartiles.items()]
    return section(
        'Nearest training images',
        '<p>The samples of which the classifier is most confident (the first samples if there is no classifier), and below each '
        'the training image that is nearest in pixels, mirrored or not. If a model copies its training images, the two look the '
        'same.</p>'
        + side(shown)
        + '<p>Distances to the nearest training image, for pixels from 0 to 1:</p>'
        + table(['', 'lower quartile', 'median', 'upper quartile'], rows),
    )


def _quartiles(distances: np.ndarray) -> list[str]:
    return [f'{q:.2f}' for q in np.quantile(distances, [0.25, 0.5, 0.75])]


def _protocol(entry: Entry) -> str:
    protocols = json.dumps([result['protocol'] for result in entry.results], indent=2)
    return f'<details><summary>{text(entry.name)}</summary><pre>{text(protocols)}</pre></details>'
