"""A figure over what was varied: ``python -m jaxgen.apps.reports.chart X Y LINES OUT.png runs/NAME/evaluation/*.json``.

X and LINES are fields of the protocols' generated images, as in network_calls and sampler, or guidance_scale and step; Y is a
figure, as in kid or judge.accuracy. Files that lack one of them are left out.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from jaxgen.apps.reports.plots import line_chart
from jaxgen.errors import UserError, check


def points(results: Sequence[dict[str, Any]], x: str, y: str, lines: str) -> dict[str, list[tuple[float, float]]]:
    """``(x, y)`` of each line, rising in x.

    Raises:
      UserError: if no result has all three, or two of one line have the same x.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        drawn = result['protocol']['generated']
        at, line, value = drawn.get(x), drawn.get(lines), _within(result, y)
        if None not in (at, line, value):
            found.setdefault(f'{lines}={line}', []).append((at, value))
    check(bool(found), f'none of {len(results)} results has {x}, {lines} and {y}')
    for name, line in found.items():
        at = [place for place, _ in line]
        check(len(set(at)) == len(at), f'two results with {name} have the same {x}: name the files that are meant')
    return {name: sorted(line) for name, line in sorted(found.items())}


def _within(result: Any, name: str) -> Any:
    for part in name.split('.'):
        result = result.get(part) if isinstance(result, dict) else None
    return result


if __name__ == '__main__':
    if len(sys.argv) < 6:
        raise SystemExit(__doc__)
    x, y, lines, out, *files = sys.argv[1:]
    try:
        drawn = points([json.loads(pathlib.Path(file).read_text()) for file in files], x, y, lines)
    except UserError as e:
        raise SystemExit(str(e)) from e
    line_chart(drawn, x.replace('_', ' '), y.replace('_', ' ')).savefig(out, dpi=100)
    for name, line in drawn.items():
        print(name, ', '.join(f'{at:g}: {value:.5g}' for at, value in line))
