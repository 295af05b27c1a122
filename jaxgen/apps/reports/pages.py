"""Parts of self-contained pages, without scripts, fonts or images from elsewhere.

The pages follow the light or dark scheme of the browser and fit wide and narrow windows.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable

import numpy as np

from jaxgen.io import images

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


def document(title: str, body: str) -> str:
    """Return a whole page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{text(title)}</title><style>{STYLE}</style></head><body>'
        f'<h1>{text(title)}</h1>{body}</body></html>\n'
    )


def section(title: str, content: str) -> str:
    """Return a section with a heading."""
    return f'<h2>{text(title)}</h2>{content}'


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of plain texts; the first cell of a row is its heading, and empty cells are shown as dashes."""
    names = ''.join(f'<th scope="col">{text(name)}</th>' if name else '<td></td>' for name in head)
    body = ''
    for first, *cells in rows:
        row = ''.join(f'<td>{text(cell) or "-"}</td>' for cell in cells)
        body += f'<tr><th scope="row">{text(first)}</th>{row}</tr>'
    return f'<div class="wide"><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>'


def grid(pictures: np.ndarray, columns: int) -> bytes:
    """Return a PNG file with a grid of images uint8 ``[N, H, W, C]``."""
    return images.png(images.grid(pictures, columns=columns))


def side(grids: Iterable[tuple[str, bytes]]) -> str:
    """Return PNG files with captions, side by side."""
    shown = [
        f'<figure><img alt="grid of images: {text(name)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f'<figcaption>{text(name)}</figcaption></figure>'
        for name, png in grids
    ]
    return f'<div class="side">{"".join(shown)}</div>'


def svg(picture: str, caption: str) -> str:
    """Return an SVG with a caption."""
    return f'<figure class="wide">{picture}<figcaption>{text(caption)}</figcaption></figure>'


def note(what: str) -> str:
    """Return a highlighted sentence."""
    return f'<p class="note">{text(what)}</p>'


def text(value: object) -> str:
    """Return a value as escaped text."""
    return html.escape(str(value))
