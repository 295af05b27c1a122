"""Write the tables of the pages of results from the stored evaluations: ``python -m docs.results.make``.

A page marks the place of a table with ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping

FOLDER = pathlib.Path(__file__).parent

COLUMNS: dict[str, Callable[[Mapping], str]] = {
    'FID': lambda result: f'{result["fid"]:.1f}',
    'KID': lambda result: f'{result["kid"]:.4f} ± {result["kid_std"]:.4f}',
    'precision': lambda result: f'{result["precision"]:.2f}',
    'recall': lambda result: f'{result["recall"]:.2f}',
    'recognised as the requested class': lambda result: f'{result["judge"]["accuracy"]:.1%}',
}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of evaluations, one a row.

    Attributes:
      page: the page that has it.
      head: the head of its first column.
      rows: the file of each evaluation, by what the first column says of it.
      columns: its other columns, names of ``COLUMNS``.
    """

    page: str
    head: str
    rows: Mapping[str, str]
    columns: tuple[str, ...] = ('FID', 'KID', 'precision', 'recall', 'recognised as the requested class')

    def text(self) -> str:
        """Return the table in Markdown."""
        lines = [f'| {self.head} | {" | ".join(self.columns)} |', '|---|' + '---:|' * len(self.columns)]
        for label, file in self.rows.items():
            result = json.loads((FOLDER / file).read_text())
            lines.append(f'| {label} | {" | ".join(COLUMNS[name](result) for name in self.columns)} |')
        return '\n'.join(lines)


RECIPES = 'recipes.md'
TABLES: dict[str, Table] = {
    'short': Table(
        RECIPES,
        'learning rate, augmentation; guidance',
        {
            'constant; 1': 'recipes/constant.json',
            'cosine; 1': 'recipes/cosine.json',
            'cosine, 0.12; 1': 'recipes/augment.json',
            'constant; 2.5': 'recipes/constant_2.5.json',
            'cosine; 2.5': 'recipes/cosine_2.5.json',
            'cosine, 0.12; 2.5': 'recipes/augment_2.5.json',
        },
    ),
    'guides': Table(
        RECIPES,
        'guidance',
        {
            'none': 'recipes/plain.json',
            'autoguidance, 1.5': 'recipes/auto1.5.json',
            'autoguidance, 2': 'recipes/auto2.json',
            'autoguidance, 3': 'recipes/auto3.json',
            'classifier-free, 2.5': 'recipes/cfg2.5.json',
            'classifier-free, 2, and autoguidance, 1.5': 'recipes/both.json',
            'classifier-free, 2, and autoguidance, 1.5, by `:guide`': 'recipes/both_small.json',
        },
    ),
    'few_calls': Table(
        RECIPES,
        'model and sampler',
        {
            'consistency tuning, 1 call': 'recipes/consistency_1.json',
            'consistency tuning, 2 calls': 'recipes/consistency_2.json',
            'before tuning: DDIM, 1 call': 'recipes/few_ddim_1.json',
            'before tuning: DDIM, 2 calls': 'recipes/few_ddim_2.json',
            'before tuning: DPM-Solver++, 2 calls': 'recipes/few_dpmpp_2m_2.json',
            'before tuning: DPM-Solver++, 5 calls': 'ddpm_cifar_edm_network_calls/dpmpp_2m_05.json',
            'before tuning: DPM-Solver++, 15 calls': 'recipes/plain.json',
        },
        ('FID', 'KID', 'recognised as the requested class'),
    ),
    'gans': Table(
        RECIPES,
        'model',
        {
            'R3GAN, 53 minutes': 'recipes/r3gan.json',
            'DCGAN, 75 minutes': 'recipes/dcgan.json',
        },
    ),
}


def pages() -> dict[str, str]:
    """Return the text of each page that has tables, with the tables as the evaluations say."""
    found: dict[str, str] = {}
    for name, table in TABLES.items():
        text = found.get(table.page) or (FOLDER / table.page).read_text()
        begin, end = f'<!-- begin {name} -->', f'<!-- end {name} -->'
        before, is_begun, rest = text.partition(begin)
        _, is_ended, after = rest.partition(end)
        if not (is_begun and is_ended):
            raise ValueError(f'{table.page} must have {begin} and, after it, {end}')
        found[table.page] = f'{before}{begin}\n{table.text()}\n{end}{after}'
    return found


if __name__ == '__main__':
    for page, text in pages().items():
        (FOLDER / page).write_text(text)
