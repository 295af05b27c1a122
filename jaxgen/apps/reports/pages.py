"""Parts of self-contained pages, without external scripts, fonts or images: the template of all reports.

The pages follow the light or dark scheme of the browser. In a narrow window the rows of tables become blocks; anything wider
than the window scrolls, with a shadow at the edge where it continues.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from jaxgen.io import images

STYLE = """
:root { color-scheme: light dark; --line: #8886; --faint: #767676; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 80rem; margin: auto; padding: 1rem; overflow-wrap: anywhere; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
p, li { max-width: 62rem; }
figure { margin: 1rem 0; max-width: 100%; min-width: 0; }
figcaption { font-size: .9rem; max-width: 46rem; flex: 1 1 16rem; }
.charts { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: flex-start; }
.side { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; }
.beside { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: flex-start; } .beside > :last-child { flex: 1 1 20rem; }
.side figure { margin: 0; flex: 0 1 38rem; }
img { display: block; max-width: 100%; height: auto; border-radius: .3rem; background: #fff; }
svg { display: block; }
.wide { max-width: 100%; min-width: 0; overflow-x: auto; background:
  linear-gradient(to right, Canvas 40%, transparent) left / 3rem 100% no-repeat local,
  linear-gradient(to left, Canvas 40%, transparent) right / 3rem 100% no-repeat local,
  linear-gradient(to right, #8889, transparent) left / 1rem 100% no-repeat scroll,
  linear-gradient(to left, #8889, transparent) right / 1rem 100% no-repeat scroll; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
th small { display: block; font-weight: normal; max-width: 16rem; }
.weak { color: var(--faint); font-weight: normal; }
@media (prefers-color-scheme: dark) { :root { --faint: #919191; } }
pre { white-space: pre-wrap; font-size: .8rem; border: 1px solid var(--line); padding: .7rem; }
.note { border-left: .3rem solid #c80; padding: .1rem .8rem; margin: .8rem 0; }
.narrow { display: none; }
@media (max-width: 42rem) {
  .broad { display: none; } .narrow { display: block; }
  table, tbody, tr, th, td { display: block; } thead { display: none; } table { width: 100%; }
  tr { border-bottom: 1px solid var(--line); padding: .5rem 0; }
  th, td { border: 0; padding: .1rem 0; }
  td { display: flex; justify-content: space-between; gap: 1rem; } td::before { content: attr(data-label); }
  th small { max-width: none; }
}
"""


def document(title: str, body: str) -> str:
    """Return a whole page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{text(title)}</title><style>{STYLE}</style></head><body>'
        f'<h1>{text(title)}</h1>{body}</body></html>\n'
    )


def section(title: str, content: str) -> str:
    """Return a section with a heading; an empty text if it has no content."""
    return f'<h2>{text(title)}</h2>{content}' if content else ''


def table(head: Iterable[str], rows: Iterable[Iterable[str]], weak: Mapping[str, str] | None = None) -> str:
    """Return a table of plain texts; the first cell of a row is its heading, and empty cells are shown as dashes.

    Args:
      head: the heading of each column.
      rows: the cells of each row.
      weak: why the values of a row or a column say little, by its heading. They are grey; the reason is in the heading of a row,
        or below the table for a column.
    """
    reasons, head = weak or {}, list(head)
    names = ''.join(_heading(name, 'col', reasons) if name else '<td></td>' for name in head)
    body = ''
    for first, *cells in rows:
        row = ''
        for name, cell in zip(head[1:], cells, strict=True):
            grey = ' class="weak"' if {name, first} & {*reasons} else ''
            row += f'<td data-label="{text(name)}"{grey}>{text(cell) or "-"}</td>'
        body += f'<tr>{_heading(first, "row", reasons)}{row}</tr>'
    grey = '; '.join(f'{name}: {reasons[name]}' for name in head if name in reasons)
    below = f'<p class="weak">Grey: {text(grey)}.</p>' if grey else ''
    return f'<div class="wide"><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>{below}</div>'


def _heading(name: str, scope: str, reasons: Mapping[str, str]) -> str:
    if name not in reasons:
        return f'<th scope="{scope}">{text(name)}</th>'
    why = f'<small>{text(reasons[name])}</small>' if scope == 'row' else ''
    return f'<th scope="{scope}" class="weak">{text(name)}{why}</th>'


def beside(main: str, remarks: str) -> str:
    """Return the main content with remarks to its right, or below it if there is no room."""
    return f'<div class="beside">{main}<div>{remarks}</div></div>'


def side(grids: Iterable[tuple[str, np.ndarray]]) -> str:
    """Return pictures, uint8 ``[H, W, C]``, side by side, each with a text for screen readers."""
    return f'<div class="side">{"".join(_figure(alt, images.png(picture)) for alt, picture in grids)}</div>'


def side_of_files(grids: Iterable[tuple[str, bytes]]) -> str:
    """Return PNG files side by side, each with a caption."""
    return f'<div class="side">{"".join(_figure(caption, png, caption) for caption, png in grids)}</div>'


def _figure(alt: str, png: bytes, caption: str = '') -> str:
    below = f'<figcaption>{text(caption)}</figcaption>' if caption else ''
    picture = f'<img alt="{text(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
    return f'<figure>{picture}{below}</figure>'


def charts(pictures: Sequence[str], caption: str) -> str:
    """Return SVGs side by side, at their own size, with a caption."""
    shown = ''.join(f'<div class="wide">{_described(picture, caption)}</div>' for picture in pictures)
    return f'<figure><div class="charts">{shown}<figcaption>{text(caption)}</figcaption></div></figure>'


def charts_by_width(pictures: Sequence[tuple[str, str]], caption: str) -> str:
    """Return SVGs side by side with a caption; each comes as a pair, for wide and for narrow windows."""
    both = ''.join(
        f'<div class="wide {kind}">{_described(picture, caption)}</div>'
        for pair in pictures
        for kind, picture in zip(('broad', 'narrow'), pair, strict=True)
    )
    return f'<figure><div class="charts">{both}<figcaption>{text(caption)}</figcaption></div></figure>'


def _described(picture: str, caption: str) -> str:
    return picture.replace('<svg', f'<svg role="img" aria-label="{text(caption)}"', 1)


def note(sentence: str) -> str:
    """Return a highlighted sentence."""
    return f'<p class="note">{text(sentence)}</p>'


def text(value: object) -> str:
    """Return a value as escaped text."""
    return html.escape(str(value))
