"""Plot a metric over what was varied: ``python -m jaxgen.apps.reports.chart X Y LINES OUT.png runs/NAME/evaluation/*.json``.

X and LINES are fields under ``protocol.generated``, such as network_calls and sampler, or guidance_scale and step. Y is a
metric, such as kid or judge.accuracy. Files that lack one of the three are left out.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from jaxgen.apps.reports.plots import line_chart
from jaxgen.errors import UserError, check
from jaxgen.types import JsonObject


def points(results: Sequence[JsonObject], x: str, y: str, lines: str) -> dict[str, list[tuple[float, float]]]:
    """Return the points ``(x, y)`` of each line, in the order of rising x.

    Args:
      results: the content of the files.
      x: the field on the horizontal axis.
      y: the metric on the vertical axis.
      lines: the field whose values have a line each.

    Raises:
      UserError: if no result has all three, or two points of a line have the same x.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        generated = result['protocol']['generated']
        at, line, value = generated.get(x), generated.get(lines), _within(result, y)
        if None not in (at, line, value):
            found.setdefault(f'{lines}={line}', []).append((at, value))
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


if __name__ == '__main__':
    if len(sys.argv) < 6:
        raise SystemExit(__doc__)
    x, y, lines, out, *files = sys.argv[1:]
    try:
        found = points([json.loads(pathlib.Path(file).read_text()) for file in files], x, y, lines)
    except UserError as e:
        raise SystemExit(str(e)) from e
    line_chart(found, x.replace('_', ' '), y.replace('_', ' ')).savefig(out, dpi=100)
    for name, line in found.items():
        print(name, ', '.join(f'{at:g}: {value:.5g}' for at, value in line))
