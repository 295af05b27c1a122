"""Write the page of one or more benchmarks, and the table of the README, from their ``benchmark.json``.

python -m jaxgen.apps.benchmark.page runs/benchmark_ddpm runs/benchmark_dcgan --out=docs/results/benchmark.md --readme=README.md

``make benchmark`` and ``make benchmark-gpu`` call it as their last step. Workdirs without ``benchmark.json`` are left out.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

from jaxgen.apps.benchmark import table
from jaxgen.errors import UserError, check, described
from jaxgen.io.files import write_atomically
from jaxgen.runtime import command_line
from jaxgen.schema import expanded, located
from jaxgen.types import Fields, JsonObject

NETWORKS = {'ddpm': 'UNet', 'dcgan': 'DCGAN'}  # the network that is measured, by method
BEGIN, END = '<!-- begin of the benchmark -->', '<!-- end of the benchmark -->'
WRITTEN_BY = '`make benchmark` wrote this page (`make benchmark-gpu` that of a GPU). A higher rate is better.'
DEFAULTS = ('float32', 'bfloat16', 'in memory')  # jaxgen's variants without further settings
MODEL_CASES = ('train', 'sample')  # cases in which the model is measured


def page(reports: Sequence[Fields], convolutions: str = '') -> str:
    """Return the page in Markdown: the machine, the ratios, all rows of each report, and the rates of convolutions.

    Args:
      reports: the contents of each ``benchmark.json``.
      convolutions: the table that ``convolutions.py`` printed; empty for none.
    """
    parts = ['# Benchmarks against PyTorch', WRITTEN_BY, machine(reports[0]), summary(reports)]
    for report in reports:
        parts += [f'## {title(report)}', f'`{settings(report)}`', table.markdown(report).partition('\n\n')[2]]
    if convolutions:
        parts += [
            '## Convolutions alone',
            '`python -m jaxgen.apps.benchmark.convolutions`, in GFLOP/s; XLA with the flag that jaxgen sets.',
            convolutions,
        ]
    return '\n\n'.join(part.strip() for part in parts) + '\n'


def machine(report: Fields) -> str:
    """Return a sentence on the processor or accelerator, its cores and the versions."""
    m = report['machine']
    versions = ', '.join(f'{name} {version}' for name, version in m['versions'].items())
    rounds = report['config']['benchmark']['rounds']
    return (
        f'Measured on {m.get("processor", m["device"])}, {m["cores"]} cores, with {versions}. Each variant runs in a process '
        f'of its own, the two sides in turn; rates are medians of {rounds} round{"s" if rounds > 1 else ""}.'
    )


def title(report: Fields) -> str:
    """Return the name and the size of the model, or the names of the cases if none of them measures a model."""
    if not any(case in report['rows'] for case in MODEL_CASES):
        return ' and '.join(table.TITLES[case] for case in report['rows'] if case != 'matmul').capitalize()
    sizes = ' and '.join(f'{count:,}' for count in report['facts']['parameters'].values())
    return f'{NETWORKS[report["config"]["family"]]} of {sizes} parameters'


def settings(report: Fields) -> str:
    """Return the flags that determine the amount of work."""
    c = report['config']
    found = {'data.batch_size': c['data']['batch_size'], 'sample.batch_size': c['sample']['batch_size']}
    if 'num_steps' in c['sample']:
        found['sample.num_steps'] = c['sample']['num_steps']
    found['benchmark.precision'] = c['benchmark']['precision']
    return ' '.join(f'--config.{name}={value}' for name, value in found.items())


def summary(reports: Sequence[Fields]) -> str:
    """Return the table of ratios: jaxgen's fastest variant over PyTorch's fastest and over eager PyTorch, and its defaults."""
    lines = [
        '| images/s, jaxgen / PyTorch | fastest / fastest | default settings / fastest | fastest / eager |',
        '|---|---:|---:|---:|',
    ]
    for report in reports:
        name = NETWORKS[report['config']['family']]
        for case, by_precision in table.ratios(report).items():
            of_model = f'{name}, ' if case in MODEL_CASES else ''
            for precision, fastest in by_precision.items():
                words = '' if precision == 'float32' else f', {precision}'
                rows = [
                    row for row in report['rows'][case] if row['precision'] == precision and 'images_per_sec' in row
                ]
                ratios = ' | '.join(_ratios(rows, fastest))
                lines.append(f'| {of_model}{table.TITLES[case]}{words} | {ratios} |')
    return '\n'.join(lines)


def _ratios(rows: Sequence[Fields], fastest: float) -> list[str]:
    """Return the ratios of a case and a precision; one of a variant that was not measured is empty.

    Args:
      rows: the variants that were measured.
      fastest: the ratio of the fastest variants.
    """
    rates = {
        side: {r['name']: r['images_per_sec'][0] for r in rows if r['side'] == side} for side in ('jaxgen', 'pytorch')
    }
    best = max(rates['jaxgen'].values())
    defaults = [rate for name, rate in rates['jaxgen'].items() if name in DEFAULTS]
    eager = [rate for name, rate in rates['pytorch'].items() if name.startswith('eager')]
    return [
        f'{fastest:.2f}',
        f'{fastest * defaults[0] / best:.2f}' if defaults else '',
        f'{best / max(eager):.2f}' if eager else '',
    ]


def in_readme(readme: str, reports: Sequence[Fields]) -> str:
    """Return the README with the machine and the ratios between its two marks.

    Args:
      readme: the text of the README.
      reports: the contents of each ``benchmark.json``.

    Raises:
      UserError: if the README does not have both marks.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f'the README has no {BEGIN} followed by {END}: add both')
    return f'{before}{begin}\n{machine(reports[0])}\n\n{summary(reports)}\n{end}{after}'


def _report(path: pathlib.Path) -> JsonObject:
    """Return the contents of a ``benchmark.json``.

    Raises:
      UserError: if the file cannot be read, or is not the whole report of a benchmark.
    """
    try:
        report = json.loads(path.read_bytes())
        page([report])
    except OSError as e:
        raise UserError(f'{path} cannot be read ({e.strerror})') from e
    except Exception as e:  # a report that was cut short or is something else can fail in any way
        raise UserError(f'{path} is not the whole report of a benchmark ({described(e)}): run it again') from e
    return report


def _text(path: str, flag: str) -> str:
    """Return the text of a file that a flag names."""
    try:
        return pathlib.Path(expanded(path)).read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f'{flag}={path} cannot be read ({described(e)}): name a text file') from e


def main(argv: list[str]) -> int:
    """Write the page, and the table of the README if one is named; return the exit code."""
    return command_line.run(_run, argv)


def _run(argv: Sequence[str], surroundings: command_line.Surroundings) -> None:
    parser = command_line.Parser(
        prog='python -m jaxgen.apps.benchmark.page',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('workdirs', nargs='+')
    parser.add_argument('--out', required=True, help='the page; the reports are copied next to it')
    parser.add_argument('--readme', help='a file whose table of the benchmark is replaced')
    parser.add_argument('--convolutions', help='a file with the output of jaxgen.apps.benchmark.convolutions')
    args = parser.parse_args(argv)
    workdirs, out = [pathlib.Path(expanded(workdir)) for workdir in args.workdirs], pathlib.Path(expanded(args.out))
    found = {w: w / 'benchmark.json' for w in workdirs if (w / 'benchmark.json').exists()}
    check(bool(found), f'none of {", ".join(map(str, workdirs))} holds a benchmark.json: run --mode=benchmark')
    reports = [_report(path) for path in found.values()]
    files = {out.parent / f'{workdir.name}.json': path.read_bytes() for workdir, path in found.items()}
    convolutions = '' if args.convolutions is None else _text(args.convolutions, '--convolutions')
    files[out] = page(reports, convolutions).encode()
    if args.readme is not None:
        readme = _text(args.readme, '--readme')
        with located(f'--readme={args.readme}'):
            files[pathlib.Path(expanded(args.readme))] = in_readme(readme, reports).encode()
    for path, data in files.items():  # nothing is written before all contents exist
        write_atomically(path, data)


if __name__ == '__main__':
    command_line.leave(main(sys.argv))
