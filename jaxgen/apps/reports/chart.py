"""Plot a metric over a setting: ``python -m jaxgen.apps.reports.chart X Y LINES OUT.png runs/NAME/evaluation/*.json``.

X and LINES are fields under ``protocol.generated``, such as network_calls and sampler, or guidance_scale and step. Y is a
metric, such as kid or judge.accuracy. Files that lack one of the three are left out.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

from jaxgen.apps.reports import words
from jaxgen.apps.reports.plots import line_chart, save
from jaxgen.errors import check, shortened
from jaxgen.io.files import read_object
from jaxgen.runtime import command_line
from jaxgen.schema import expanded
from jaxgen.types import JsonObject

REMEDY = 'name files in evaluation/'


def points(results: Sequence[JsonObject], x: str, y: str, lines: str) -> dict[str, list[tuple[float, float]]]:
    """Return the points ``(x, y)`` of each line, in order of x.

    Args:
      results: the contents of the files.
      x: the field on the horizontal axis.
      y: the metric on the vertical axis.
      lines: the field that has a line for each of its values.

    Raises:
      UserError: if no result has all three, x or y is not a number, or two points of a line have the same x.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        generated = 'protocol.generated'
        at, line, value = (_within(result, name) for name in (f'{generated}.{x}', f'{generated}.{lines}', y))
        if None not in (at, line, value):
            for name, number in ((x, at), (y, value)):
                is_number = isinstance(number, int | float) and math.isfinite(number)
                check(is_number, f'{name} is {shortened(str(number))} in one of the results, and not a number')
            found.setdefault(words.entry(lines, line), []).append((at, value))
    check(bool(found), f'none of {len(results)} results has {x}, {lines} and {y}')
    for name, line in found.items():
        at = [place for place, _ in line]
        check(len(set(at)) == len(at), f'two results with {name} have the same {x}: pass only one of their files')
    return {name: sorted(line) for name, line in sorted(found.items())}


def _within(result: Any, name: str) -> Any:
    """Return the value with a dotted name in nested dictionaries, or None."""
    for part in name.split('.'):
        result = result.get(part) if isinstance(result, dict) else None
    return result


def main(argv: list[str]) -> int:
    """Write the figure and print its points; return the exit code."""
    return command_line.run(_run, argv)


def _run(argv: Sequence[str], surroundings: command_line.Surroundings) -> None:
    parser = command_line.Parser(
        prog='python -m jaxgen.apps.reports.chart',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name in ('X', 'Y', 'LINES', 'OUT.png'):
        parser.add_argument(name)
    parser.add_argument('files', nargs='+')
    x, y, lines, out, files = vars(parser.parse_args(argv)).values()
    results = [read_object(expanded(file), 'the result of an evaluation', REMEDY) for file in files]
    found = points(results, x, y, lines)
    extractors = (_within(one, 'protocol.extractor') for one in results)
    extractor = next((known for known in extractors if isinstance(known, dict)), {})
    save(line_chart(found, words.setting(x), words.axis(y, {'extractor': extractor})), out)
    for name, line in found.items():
        print(name, ', '.join(f'{at:g}: {value:.5g}' for at, value in line))


if __name__ == '__main__':
    command_line.leave(main(sys.argv))
