"""A comparison as one self-contained page: no script, no font and no picture from elsewhere."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgen import images
from jaxgen.evaluation import plots
from jaxgen.evaluation.compare import Comparison, Entry

STYLE = """
:root { color-scheme: light dark; --line: #8886; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: auto; padding: 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
.wide { overflow-x: auto; } .side { display: flex; flex-wrap: wrap; gap: 1.5rem; }
figure { margin: 0; max-width: 100%; } figcaption { font-size: .9rem; opacity: .85; max-width: 60rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; image-rendering: pixelated; } svg { max-width: 100%; min-width: 36rem; height: auto; }
pre { overflow-x: auto; font-size: .8rem; border: 1px solid var(--line); padding: .7rem; }
.note { border-left: .3rem solid #c80; padding: .1rem .8rem; margin: .8rem 0; }
"""


def page(comparison: Comparison) -> str:
    """The HTML."""
    entries = comparison.entries
    sections = [
        _figures(comparison),
        _charts(entries),
        _curves(entries),
        _by_class(comparison),
        _section('Samples', _side([(e.name, e.images) for e in entries] + [('real, held out', comparison.real)], 10)),
        _neighbours(comparison),
        _section('Protocols', ''.join(map(_protocol, entries))),
    ]
    names = ', '.join(e.name for e in entries)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{_text(names)}</title><style>{STYLE}</style></head><body>'
        f'<h1>{_text(names)}</h1>{"".join(sections)}</body></html>\n'
    )


def _figures(comparison: Comparison) -> str:
    entries = comparison.entries
    rows = {name: [_cell(e, value) for e in entries] for name, value in FIGURES.items()}
    rows |= {name: [_text(value(e)) for e in entries] for name, value in FACTS.items()}
    known = {name: cells for name, cells in rows.items() if any(cells)}
    head = ''.join(f'<th scope="col">{_text(e.name)}</th>' for e in entries)
    body = ''
    for name, cells in known.items():
        row = ''.join(f'<td>{cell or "-"}</td>' for cell in cells)
        body += f'<tr><th scope="row">{_text(name)}</th>{row}</tr>'
    reference = entries[0].results[0]['protocol']['reference']
    source = ' '.join(str(reference[k]) for k in ('dataset', 'split', 'file', 'folder') if k in reference)
    notes = [f'The protocols differ in {field}: compare with care.' for field in comparison.differences]
    notes += sorted({warning for e in entries for result in e.results for warning in result['warnings']})
    return (
        f'<p>Reference: {_text(source)}, {reference["count"]:,} of {reference["of"]:,} images. Each model drew '
        f'{entries[0].results[0]["protocol"]["generated"]["count"]:,} images ({_over(entries)}). Features: '
        f'{_text(entries[0].results[0]["protocol"]["extractor"]["name"])}.</p>'
        f'<div class="wide"><table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        + ''.join(f'<p class="note">{_text(note)}</p>' for note in notes)
    )


def _over(entries: Sequence[Entry]) -> str:
    seeds = len(entries[0].results)
    return f'{seeds} seeds' if seeds > 1 else 'one seed, so that no spread over seeds is known'


def values(entry: Entry, path: str) -> list[Any]:
    """A figure by its dotted path in the result, one for each seed; empty where it is not known."""
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
        return ''
    spread = f' ± {format(np.std(found, ddof=1), form)}' if len(found) > 1 else ''
    return format(np.mean(found), form) + spread


FIGURES = {
    'FID': ('fid', '.2f'),
    'KID': ('kid', '.5f'),
    'KID, deviation over subsets': ('kid_std', '.5f'),
    'Inception Score': ('inception_score', '.2f'),
    'precision': ('precision', '.3f'),
    'recall': ('recall', '.3f'),
    'judge: right class': ('judge.accuracy', '.1%'),
    'judge: mean confidence': ('judge.mean_confidence', '.3f'),
}

BY_CLASS = {
    'FID by class': 'fid_per_class',
    'judge: right class': 'judge.accuracy_per_class',
    'judge: images seen as each class': 'judge.seen',
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
    return _section('Charts', _svg(plots.bars(bars), caption)) if bars else ''


def _bars(entries: Sequence[Entry]) -> dict[str, list[tuple[str, float, float]]]:
    """Of each figure that is known of all models: (name, mean, deviation)."""
    found = {}
    for name, (path, _) in FIGURES.items():
        rows = []
        for entry in entries:
            over_seeds = values(entry, path)
            if over_seeds:
                spread = np.std(over_seeds, ddof=1) if len(over_seeds) > 1 else 0.0
                rows.append((entry.name, float(np.mean(over_seeds)), float(spread)))
        if len(rows) == len(entries) and path != 'kid_std':
            found[name] = rows
    return found


def _curves(entries: Sequence[Entry]) -> str:
    parts = []
    losses = {}
    for e in entries:
        per_step = e.facts['training_images'] / max(1, _generated(e, 'step'))
        for metric in [m for m in (e.log[0] if e.log else {}) if m.startswith('loss')]:
            label = e.name if metric == 'loss' else f'{e.name} {metric.removeprefix("loss_")}'
            losses[label] = [
                (row['step'] * per_step, row[metric]) for row in e.log if row['step'] <= _generated(e, 'step')
            ]
    if losses:
        caption = 'Losses of different families measure different things: only their course can be compared.'
        parts.append(_svg(plots.curves(losses, 'training images', 'loss'), caption))
    history = {e.name: [(row['step'], row['fid']) for row in e.history] for e in entries if e.history}
    if history:
        counts = sorted({row['protocol']['generated']['count'] for e in entries for row in e.history})
        caption = f'In training, of {" or ".join(map(str, counts))} images: not to be compared with the table.'
        parts.append(_svg(plots.curves(history, 'step', 'FID'), caption))
    return _section('Training', ''.join(parts)) if parts else ''


def _by_class(comparison: Comparison) -> str:
    parts, all_names = [], [e.name for e in comparison.entries]
    for title, path in BY_CLASS.items():
        rows = {e.name: values(e, path)[0] for e in comparison.entries if values(e, path)}
        if rows:
            chart = plots.by_class(rows, comparison.class_names, title, all_names)
            parts.append(_svg(chart, f'{title}, of the first seed.'))
    confusions = {
        e.name: np.array(values(e, 'judge.confusion')[0]) for e in comparison.entries if values(e, 'judge.confusion')
    }
    if confusions:
        caption = (
            'Of the images asked to show a class (rows), the share that the judge sees as each (columns), in percent.'
        )
        parts.append(_svg(plots.confusions(confusions, comparison.class_names), caption))
    return _section('By class', ''.join(parts)) if parts else ''


def _neighbours(comparison: Comparison) -> str:
    pairs = []
    for e in comparison.entries:
        near = e.neighbours
        rows = np.concatenate([near.best, near.nearest])
        pairs.append((e.name, rows))
    real = _quartiles(comparison.real_distances)
    lines = [f'<li>{_text(e.name)}: {_quartiles(e.neighbours.distances)}</li>' for e in comparison.entries]
    return _section(
        'Nearest training images',
        '<p>Above the samples that the judge is surest of, below the training image (or its mirror image) that is nearest '
        'in pixels. A model that copies shows the same picture twice.</p>'
        + _side(pairs, len(comparison.entries[0].neighbours.best))
        + f'<p>Distances to the nearest training image, pixels from 0 to 1, quartiles:</p><ul>{"".join(lines)}'
        f'<li>real images, held out: {real}</li></ul>',
    )


def _quartiles(distances: np.ndarray) -> str:
    return ', '.join(f'{q:.2f}' for q in np.quantile(distances, [0.25, 0.5, 0.75]))


def _protocol(entry: Entry) -> str:
    text = _text(json.dumps([result['protocol'] for result in entry.results], indent=2))
    return f'<details><summary>{_text(entry.name)}</summary><pre>{text}</pre></details>'


def _section(title: str, content: str) -> str:
    return f'<h2>{_text(title)}</h2>{content}'


def _side(grids: Sequence[tuple[str, np.ndarray]], columns: int) -> str:
    shown = []
    for name, pictures in grids:
        data = base64.b64encode(images.png(images.grid(pictures, columns=columns))).decode()
        shown.append(
            f'<figure><img alt="grid of images: {_text(name)}" src="data:image/png;base64,{data}">'
            f'<figcaption>{_text(name)}</figcaption></figure>'
        )
    return f'<div class="side">{"".join(shown)}</div>'


def _svg(picture: str, caption: str) -> str:
    return f'<figure class="wide">{picture}<figcaption>{_text(caption)}</figcaption></figure>'


def _text(value: Any) -> str:
    return html.escape(str(value))
