"""Show the measurements of a benchmark as tables in Markdown, and as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxgen.apps.reports import plots
from jaxgen.types import Fields

TITLES = {
    'train': 'training step',
    'sample': 'sampling',
    'features': 'Inception features',
    'data': 'input pipeline',
    'attention': 'attention and its gradients',
    'matmul': 'matrix product',
}
# A measured rate is a list of its median, its least and its largest value.
HEAD = ('', 'images/s', 'least to most', 'steps/s', 'GFLOP/s', 'of the matmul rate', 'time to first result', 'memory')


def ratios(report: Fields) -> dict[str, dict[str, float]]:
    """Return the images/s of jaxgen's fastest variant divided by those of PyTorch's, by case and precision."""
    found: dict[str, dict[str, float]] = {}
    for case, rows in report['rows'].items():
        for precision in dict.fromkeys(row['precision'] for row in rows):
            best = {side: _best(rows, side, precision) for side in ('jaxgen', 'pytorch')}
            if all(best.values()):
                found.setdefault(case, {})[precision] = best['jaxgen'] / best['pytorch']
    return found


def _best(rows: Sequence[Fields], side: str, precision: str) -> float:
    rates = [
        row['images_per_sec'][0]
        for row in rows
        if row['side'] == side and row['precision'] == precision and 'images_per_sec' in row
    ]
    return max(rates, default=0.0)


def markdown(report: Fields) -> str:
    """Return a table for each case with its ratios below it, and the reason for each variant that was not measured."""
    machine = report['machine']
    versions = ', '.join(f'{name} {version}' for name, version in machine['versions'].items())
    parts = [f'{machine.get("processor", machine["device"])}, {machine["cores"]} cores; {versions}', *report['notes']]
    peaks = peak_rates(report['rows'].get('matmul', []))
    for case, rows in report['rows'].items():
        lines = [' | '.join((TITLES[case], *HEAD[1:])), ' | '.join(['---'] + ['---:'] * (len(HEAD) - 1))]
        lines += [' | '.join(_cells(row, peaks)) for row in _measured(rows)]
        parts.append('\n'.join(f'| {line} |' for line in lines))
        parts += [f'{row["side"]} {row["name"]}: {row["reason"]}' for row in rows if 'reason' in row]
        of_case = ratios(report).get(case, {})
        parts += [
            f"{TITLES[case]}, {p}: jaxgen's best is {ratio:.2f} times PyTorch's best" for p, ratio in of_case.items()
        ]
    parts += filter(None, [stages(report)])
    return '\n\n'.join(parts) + '\n'


def stages(report: Fields) -> str:
    """Return a table of the seconds in each stage up to the end of the first training step; empty if they are not known.

    Each column is a round: the first one compiles, if the compilation cache was empty, and the others read the cache.
    """
    row = next((r for r in report['rows'].get('train', []) if 'stages' in r), None)
    if row is None:
        return ''
    rounds = range(1, len(row['stages']) + 1)
    head = ' | '.join(f'round {i}' for i in rounds)
    lines = [f'| jaxgen {row["name"]}, seconds | {head} |', '|---|' + '---:|' * len(rounds)]
    for name in row['stages'][0]:
        lines.append(f'| {name} | ' + ' | '.join(f'{of_round[name]:.1f}' for of_round in row['stages']) + ' |')
    return '\n'.join(lines) + '\n'


def peak_rates(rows: Sequence[Fields]) -> dict[str, float]:
    """Return the FLOP/s of matrix products in each precision, of jaxgen or PyTorch, whichever is faster."""
    peaks: dict[str, float] = {}
    for row in _measured(rows):
        peaks[row['precision']] = max(peaks.get(row['precision'], 0.0), row['flops_per_sec'][0])
    return peaks


def _measured(rows: Sequence[Fields]) -> list[Fields]:
    return [row for row in rows if 'reason' not in row]


def _cells(row: Fields, peaks: Mapping[str, float]) -> list[str]:
    def median(name: str, scale: float = 1.0) -> str:
        return f'{row[name][0] / scale:.4g}' if name in row else ''

    peak = peaks.get(row['precision'])
    spread = ' to '.join(f'{x:.4g}' for x in row['images_per_sec'][1:]) if 'images_per_sec' in row else ''
    share = f'{row["flops_per_sec"][0] / peak:.0%}' if 'flops_per_sec' in row and peak else ''
    first = ', '.join(f'{seconds:.1f} s' for seconds in row['seconds_to_first'])
    device = f' on {row["device"]}' if 'device' in row else ''
    return [
        f'{row["side"]} {row["name"]}{device}',
        median('images_per_sec'),
        spread,
        median('steps_per_sec'),
        median('flops_per_sec', 1e9),
        share,
        first,
        f'{row["peak_memory"] / 2**30:.2f} GiB',
    ]


def chart(report: Fields) -> str:
    """Return an SVG file with a chart for each case: images/s of each variant, with whiskers of half the range."""
    charts = {}
    for case, rows in report['rows'].items():
        shown = [row for row in _measured(rows) if 'images_per_sec' in row]
        if shown:
            charts[f'{TITLES[case]}, images/s'] = [
                (f'{row["side"]} {row["name"]}', row['images_per_sec'][0], _half_range(row['images_per_sec']))
                for row in shown
            ]
    svg = plots.bars(charts)
    return svg.replace('<svg ', '<svg style="color: black; background: white" ', 1)


def _half_range(rate: Sequence[float]) -> float:
    return (rate[2] - rate[1]) / 2
