"""A comparison as one self-contained page, without scripts, fonts or images from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgen.apps.compare.compare import Comparison, Entry, difference_notes
from jaxgen.apps.evaluate.results import titled
from jaxgen.apps.reports import plots
from jaxgen.apps.reports.pages import document, grid, note, section, side, svg, table, text
from jaxgen.io.run_directory import points
from jaxgen.types import Fields


def page(comparison: Comparison) -> str:
    """Return the page as HTML."""
    entries = comparison.entries
    sections = [
        _metrics(comparison),
        _charts(entries),
        _curves(entries),
        _by_class(comparison),
        section('Samples', _grids([(e.name, e.images) for e in entries] + [('real, held out', comparison.real)], 10)),
        _neighbours(comparison),
        section('Protocols', ''.join(map(_protocol, entries))),
    ]
    return document(', '.join(e.name for e in entries), ''.join(sections))


def _metrics(comparison: Comparison) -> str:
    entries = comparison.entries
    protocol = _protocol_of(entries)
    rows = {titled(name, protocol): [_cell(e, value) for e in entries] for name, value in METRICS.items()}
    rows |= {name: [value(e) for e in entries] for name, value in FACTS.items()}
    known = [(name, *cells) for name, cells in rows.items() if any(cells)]
    reference = protocol['reference']
    source = ' '.join(str(reference[k]) for k in ('dataset', 'split', 'file', 'folder') if k in reference)
    notes = difference_notes(comparison.differences)
    notes += sorted({warning for e in entries for result in e.results for warning in result['warnings']})
    return (
        f'<p>Reference: {text(source)}, {reference["count"]:,} of {reference["of"]:,} images. Each model generated '
        f'{protocol["generated"]["count"]:,} images ({_over(entries)}). Features: {text(protocol["extractor"]["name"])}.</p>'
        + table(['', *(e.name for e in entries)], known)
        + ''.join(map(note, notes))
    )


def _protocol_of(entries: Sequence[Entry]) -> Fields:
    """Return the protocol of the first result; the models that are compared share its extractor and its reference."""
    return entries[0].results[0]['protocol']


def _over(entries: Sequence[Entry]) -> str:
    seeds = len(entries[0].results)
    return f'{seeds} seeds' if seeds > 1 else 'one seed, so the spread over seeds is not known'


def values(entry: Entry, path: str) -> list[Any]:
    """Return a metric by its dotted path in the result, one value for each seed; empty if it is not known."""
    found = []
    for result in entry.results:
        value: Any = result
        for part in path.split('.'):
            value = value.get(part) if isinstance(value, dict) else None
        found += [] if value is None else [value]
    return found


def _cell(entry: Entry, how: tuple[str, str]) -> str:
    path, form = how
    found = values(entry, path)
    if not found:
        return no_value(path, entry.results[0])
    spread = f' ± {format(np.std(found, ddof=1), form)}' if len(found) > 1 else ''
    return format(np.mean(found), form) + spread


def no_value(path: str, result: Fields) -> str:
    """Return the cell of a metric that a result lacks: empty, but for a deviation that could not be estimated."""
    return 'not estimated' if path == 'kid_std' and path in result else ''


# Rows of the table: the dotted path of each metric in the result, and its format.
METRICS = {
    'FID': ('fid', '.2f'),
    'KID': ('kid', '.5f'),
    'KID, deviation over subsets': ('kid_std', '.5f'),
    'Inception Score': ('inception_score', '.2f'),
    'precision': ('precision', '.3f'),
    'recall': ('recall', '.3f'),
    'density': ('density', '.3f'),
    'coverage': ('coverage', '.3f'),
    'classifier: right class': ('judge.accuracy', '.1%'),
    'classifier: mean confidence': ('judge.mean_confidence', '.3f'),
}

BY_CLASS = {
    'FID by class': 'fid_per_class',
    'classifier: right class': 'judge.accuracy_per_class',
    'classifier: images recognised as each class': 'judge.seen',
}


def _generated(entry: Entry, field: str) -> Any:
    return entry.results[0]['protocol']['generated'].get(field, '')


FACTS = {
    'step': lambda e: f'{_generated(e, "step"):,}',
    'EMA': lambda e: 'yes' if _generated(e, 'ema') else 'no',
    'sampler': lambda e: _generated(e, 'sampler'),
    'network calls an image': lambda e: str(_generated(e, 'network_calls')),
    'guidance': lambda e: str(_generated(e, 'guidance_scale')),
    'parameters': lambda e: ', '.join(f'{part} {count:,}' for part, count in e.facts['parameters'].items()),
    'training images': lambda e: f'{e.facts["training_images"]:,}',
    'training steps/sec (median)': lambda e: _rate(e.facts['steps_per_sec']),
    'sampling images/sec': lambda e: _rate(e.facts['sampling_images_per_sec']),
}


def _rate(value: float | None) -> str:
    return '' if value is None else f'{value:.3g}'


def _charts(entries: Sequence[Entry]) -> str:
    bars = _bars(entries)
    caption = f'Bars are means, whiskers standard deviations: {_over(entries)}.'
    return section('Charts', svg(plots.bars(bars), caption)) if bars else ''


def _bars(entries: Sequence[Entry]) -> dict[str, list[tuple[str, float, float]]]:
    """Return (name, mean, deviation) of each model for every metric that is known of all models."""
    found = {}
    for name, (path, _) in METRICS.items():
        rows = []
        for entry in entries:
            over_seeds = values(entry, path)
            if over_seeds:
                spread = np.std(over_seeds, ddof=1) if len(over_seeds) > 1 else 0.0
                rows.append((entry.name, float(np.mean(over_seeds)), float(spread)))
        if len(rows) == len(entries) and path != 'kid_std':
            found[titled(name, _protocol_of(entries))] = rows
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
        caption = 'Losses of different methods measure different things: only their course can be compared.'
        parts.append(svg(plots.curves(losses, 'training images', 'loss'), caption))
    history = {e.name: [(row['step'], row['fid']) for row in e.history] for e in entries if e.history}
    if history:
        names = {titled('FID', row['protocol']) for e in entries for row in e.history}
        counts = sorted({row['protocol']['generated']['count'] for e in entries for row in e.history})
        caption = f'In training, of {" or ".join(map(str, counts))} images; do not compare it with the table.'
        parts.append(svg(plots.curves(history, 'step', ' or '.join(sorted(names))), caption))
    return section('Training', ''.join(parts)) if parts else ''


def _by_class(comparison: Comparison) -> str:
    parts, all_names = [], [e.name for e in comparison.entries]
    for name, path in BY_CLASS.items():
        title = titled(name, _protocol_of(comparison.entries))
        rows = {e.name: values(e, path)[0] for e in comparison.entries if values(e, path)}
        if rows:
            chart = plots.by_class(rows, comparison.class_names, title, all_names)
            parts.append(svg(chart, f'{title}, of the first seed.'))
    confusions = {
        e.name: np.array(values(e, 'judge.confusion')[0]) for e in comparison.entries if values(e, 'judge.confusion')
    }
    if confusions:
        caption = 'Share of the images that should show a class (rows) and are recognised as each class (columns), in percent.'
        parts.append(svg(plots.confusions(confusions, comparison.class_names), caption))
    return section('By class', ''.join(parts)) if parts else ''


def _neighbours(comparison: Comparison) -> str:
    pairs = []
    for e in comparison.entries:
        near = e.neighbours
        rows = np.concatenate([near.best, near.nearest])
        pairs.append((e.name, rows))
    real = _quartiles(comparison.real_distances)
    lines = [f'<li>{text(e.name)}: {_quartiles(e.neighbours.distances)}</li>' for e in comparison.entries]
    return section(
        'Nearest training images',
        '<p>Top: the samples of which the classifier is most confident. Bottom: the training image (or its mirror image) that '
        'is nearest in pixels. A model that copies shows the same image twice.</p>'
        + _grids(pairs, len(comparison.entries[0].neighbours.best))
        + f'<p>Distances to the nearest training image, pixels from 0 to 1, quartiles:</p><ul>{"".join(lines)}'
        f'<li>real images, held out: {real}</li></ul>',
    )


def _quartiles(distances: np.ndarray) -> str:
    return ', '.join(f'{q:.2f}' for q in np.quantile(distances, [0.25, 0.5, 0.75]))


def _protocol(entry: Entry) -> str:
    protocols = json.dumps([result['protocol'] for result in entry.results], indent=2)
    return f'<details><summary>{text(entry.name)}</summary><pre>{text(protocols)}</pre></details>'


def _grids(images: Sequence[tuple[str, np.ndarray]], columns: int) -> str:
    return side((name, grid(pictures, columns)) for name, pictures in images)
