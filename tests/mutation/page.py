"""The page of mutations that survive: docs/results/mutations.md."""

from __future__ import annotations

import collections
import json
import pathlib
from collections.abc import Sequence

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'results' / 'mutations.md'
REASONS = (
    pathlib.Path(__file__).parent / 'reasons.json'
)  # why a survivor changes nothing that matters, by its file and text
HEAD = """# Mutation tests

A mutation is a small change of the mathematics that a test should notice: + for -, * for /, < for <=, c + 1 or 0 for a number
c, a `not` or a `fold_in` less, an argument in the place of another. Each is made in a copy of the package, where the tests of
its file then run. Resume with the same command; the choice of mutations depends on the seed alone.

```
python tests/mutation/run.py --minutes=600 --per-file=50
python tests/mutation/run.py --page    # writes this page
```

"""


def write_page(rows: Sequence[dict]) -> None:
    """Write the counts of each folder, and the survivors with their reasons.

    Args:
      rows: the results of ``run.py``.
    """
    outcomes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for row in rows:
        outcomes[str(pathlib.PurePath(row['file']).parent)][row['outcome']] += 1
    lines = [f'The results of {len(rows)} mutations so far, a random choice of all:', '']
    lines += ['| | mutations | killed | timed out | survived |', '|---|---:|---:|---:|---:|']
    for folder, counts in sorted(outcomes.items()):
        cells = [sum(counts.values()), *(counts[outcome] for outcome in ('killed', 'timed out', 'survived'))]
        lines.append(f'| `{folder}` | ' + ' | '.join(map(str, cells)) + ' |')
    reasons = json.loads(REASONS.read_text())
    lines += ['', '## Survivors', '', '| where | mutation | why |', '|---|---|---|']
    for row in sorted(rows, key=lambda row: (row['file'], row['line'])):
        if row['outcome'] == 'survived':
            mutation = row['mutation'].replace('|', '\\|')
            reason = reasons.get(f'{row["file"]}: {row["mutation"]}', '**a test is missing**')
            lines.append(f'| `{row["file"]}:{row["line"]}` | `{mutation}` | {reason} |')
    PAGE.write_text(HEAD + '\n'.join(lines) + '\n')
