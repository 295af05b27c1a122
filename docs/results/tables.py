"""The kinds of tables that pages of results have."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

FOLDER = pathlib.Path(__file__).parent

COLUMNS: dict[str, Callable[[Mapping], str]] = {
    'FID': lambda result: f'{result["fid"]:.1f}',
    'KID': lambda result: f'{result["kid"]:.4f}' + (f' ± {result["kid_std"]:.4f}' if result['kid_std'] else ''),
    'precision': lambda result: f'{result["precision"]:.2f}',
    'recall': lambda result: f'{result["recall"]:.2f}',
    'recognised as the requested class': lambda result: f'{result["judge"]["accuracy"]:.1%}',
}
CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')


def _recognised(name: str) -> Callable[[Mapping], str]:
    """Return what writes the share of a class that is recognised as such."""
    return lambda result: f'{result["judge"]["accuracy_per_class"][name]:.0%}'


def _seen(name: str) -> Callable[[Mapping], str]:
    """Return what writes the share of all images in which a class is recognised."""
    return lambda result: f'{result["judge"]["seen"][name] / sum(result["judge"]["seen"].values()):.1%}'


COLUMNS |= {name: _recognised(name) for name in CLASSES} | {f'seen as {name}': _seen(name) for name in CLASSES}
COLUMNS |= {  # of a fine-tuned model: its new class and the nine others
    'recognised as trucks': lambda result: COLUMNS['recognised as the requested class'](result['truck']),
    'KID of trucks': lambda result: COLUMNS['KID'](result['truck']),
    'the nine recognised': lambda result: COLUMNS['recognised as the requested class'](result['nine']),
    'bytes': lambda result: f'{result["bytes"]:,}' if 'bytes' in result else '',
}


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a table in Markdown, all columns but the ``left`` first ones aligned right."""
    ruler = ['---'] * left + ['---:'] * (len(head) - left)
    return '\n'.join(
        ['| ' + ' | '.join(head) + ' |', f'|{"|".join(ruler)}|', *(f'| {" | ".join(row)} |' for row in rows)]
    )


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of evaluations, one a row.

    Attributes:
      page: the page that has it.
      head: the head of its first column, or of the first ones with ``|`` between them.
      rows: the file of each evaluation, by what these columns say of it; of a file with several, ``FILE#INDEX`` or ``FILE#KEY``.
      columns: its other columns, names of ``COLUMNS``.
    """

    page: str
    head: str
    rows: Mapping[str, str]
    columns: tuple[str, ...] = ('FID', 'KID', 'precision', 'recall', 'recognised as the requested class')

    def text(self) -> str:
        """Return the table in Markdown."""
        head = self.head.split(' | ')
        rows = []
        for label, file in self.rows.items():
            result = read(file)
            rows.append([label, *(COLUMNS[name](result) for name in self.columns)])
        return _markdown([*head, *self.columns], rows, len(head))


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A table of one metric of evaluations, with an evaluation in each cell.

    Attributes:
      page: the page that has it.
      head: the head of its first column.
      metric: the metric, as its key in the files.
      rows: the file of each cell by column, by what the first column says of the row.
    """

    page: str
    head: str
    metric: str
    rows: Mapping[str, Mapping[str, str]]

    def text(self) -> str:
        """Return the table in Markdown."""
        columns = list(next(iter(self.rows.values())))
        rows = [
            [label, *(f'{read(files[name])[self.metric]:.4f}' for name in columns)]
            for label, files in self.rows.items()
        ]
        return _markdown([self.head, *columns], rows)


@dataclasses.dataclass(frozen=True)
class Losses:
    """A table of the losses that ``docs.results.denoising_loss`` stored, one model a row.

    Attributes:
      page: the page that has it.
      rows: ``FILE#INDEX`` of each model, by what the first column says of it.
    """

    page: str
    rows: Mapping[str, str]

    def text(self) -> str:
        """Return the table in Markdown."""
        found = {label: read(file)['loss'] for label, file in self.rows.items()}
        sigmas = list(next(iter(found.values())))
        rows = []
        for label, loss in found.items():
            values = [*loss.values(), sum(loss.values()) / len(loss)]
            rows.append([label, *(f'{value:.4f}' for value in values)])
        return _markdown(['model', *(f'σ = {sigma}' for sigma in sigmas), 'mean'], rows)


def read(file: str) -> Mapping:
    """Return an evaluation from ``FILE``, ``FILE#INDEX`` or ``FILE#KEY``."""
    name, _, part = file.partition('#')
    content = json.loads((FOLDER / name).read_text())
    if not part:
        return content
    return content[int(part)] if isinstance(content, list) else content[part]
