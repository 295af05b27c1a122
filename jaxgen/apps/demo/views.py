"""The parts of the page as HTML, which contains the images itself, so that no files have to be served."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from jaxgen.apps.compare.compare import difference_notes, differences
from jaxgen.apps.compare.report import no_value
from jaxgen.apps.reports import pages, plots, weak_metrics, words
from jaxgen.apps.reports.pages import table, text
from jaxgen.apps.same_run import flatten
from jaxgen.io import images
from jaxgen.types import Fields

OF_A_MODEL = 'fid', 'kid', 'precision', 'recall', 'judge.accuracy'  # metrics that are shown next to the name of a model
STYLE = """
.jg { font-size: 1rem; line-height: 1.5; } .jg figure { margin: 0; max-width: 100%; min-width: 0; }
.jg .grid img { max-width: 100%; height: auto; margin: 0; border-radius: .3rem; }
.jg .charts { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; } .jg .chart { flex: 1 1 20rem; max-width: 27rem; }
.jg .chart svg { display: block; width: 100%; height: auto; }
.jg .box { width: min(100%, 30rem); aspect-ratio: 1; display: grid; place-items: center; overflow: hidden;
  border: 1px solid var(--border-color-primary); border-radius: .4rem; background: var(--background-fill-secondary); }
.jg .box img { width: 100%; height: 100%; object-fit: contain; image-rendering: pixelated; margin: 0; }
.jg .side { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21.5rem), 1fr)); gap: 1rem; }
.jg figcaption, .jg .small { font-size: .9rem; color: var(--body-text-color); overflow-wrap: anywhere; }
.jg .pair { display: grid; grid-template-columns: 1fr 1fr; gap: .6rem; }
.jg .box p, .jg .hint { padding: 1rem; }
.jg .hint { min-height: 8rem; display: grid; place-items: center; border: 1px solid var(--border-color-primary);
  border-radius: .4rem; background: var(--background-fill-secondary); }
.jg progress { width: min(100%, 41rem); height: .6rem; display: block; appearance: none; border: 0; border-radius: .3rem;
  overflow: hidden; background: var(--border-color-primary); }
.jg progress::-webkit-progress-bar { background: var(--border-color-primary); }
.jg progress::-webkit-progress-value { background: var(--color-accent); }
.jg progress::-moz-progress-bar { background: var(--color-accent); }
.jg pre span { display: inline-block; word-break: break-all; }
.jg .line { min-height: 1.6rem; margin: .2rem 0; }
.jg pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .6rem; border: 1px solid var(--border-color-primary);
  border-radius: .4rem; font-size: .85rem; margin: .4rem 0; }
.jg a.get { display: inline-block; padding: .45rem .9rem; margin: .3rem .5rem .3rem 0; border-radius: .4rem;
  border: 1px solid var(--body-text-color); color: var(--body-text-color); text-decoration: none; }
.jg a.get:focus-visible, .jg pre:focus-visible, .jg .wide:focus-visible { outline: 3px solid var(--color-accent); }
.jg .note { border-left: .3rem solid #c80; padding: .3rem .8rem; margin: .4rem 0; overflow-wrap: anywhere; }
.jg .wide { overflow-x: auto; }
.jg .weak { color: var(--body-text-color-subdued); } .jg th small { display: block; font-weight: normal; }
.jg table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.jg table * { border: 0 !important; } .jg tr { border-bottom: 1px solid var(--border-color-primary) !important; }
.jg th, .jg td { padding: .3rem .7rem; text-align: right; }
.jg th:first-child, .jg td:first-child { text-align: left; }
.jg iframe { width: 100%; height: 80vh; border: 1px solid var(--border-color-primary); background: #fff; }
"""


def part(*content: str) -> str:
    """Join parts into one element with the style of the page."""
    return f'<div class="jg">{"".join(content)}</div>'


def note(sentence: str) -> str:
    """Return an error message, which a screen reader reads at once."""
    return part(f'<p class="note" role="alert">{text(sentence)}</p>')


def uri(data: bytes, kind: str) -> str:
    """Return a data URI.

    Args:
      data: the bytes of a file.
      kind: its media type.
    """
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


def picture(image: np.ndarray, alt: str, caption: str = '') -> str:
    """Return an image in a square box of a fixed size.

    Args:
      image: uint8 ``[H, W, C]``.
      alt: the text for screen readers.
      caption: the text below.
    """
    below = f'<figcaption>{text(caption)}</figcaption>' if caption else ''
    return f'<figure><div class="box"><img alt="{text(alt)}" src="{uri(images.png(image), "image/png")}"></div>{below}</figure>'


def grid(picture: np.ndarray | bytes, alt: str, caption: str = '', *, narrow: np.ndarray | bytes | None = None) -> str:
    """Return a grid of images with labels at its own size, or smaller where it has no room.

    Args:
      picture: uint8 ``[H, W, C]``, or a PNG file.
      alt: the text for screen readers.
      caption: the text below.
      narrow: a narrower grid of the same images, for the windows of phones; ``picture`` if not given.
    """
    below = f'<figcaption>{text(caption)}</figcaption>' if caption else ''
    source = '' if narrow is None else f'<source media="(max-width: 640px)" srcset="{_png_uri(narrow)}">'
    shown = f'<picture>{source}<img alt="{text(alt)}" src="{_png_uri(picture)}"></picture>'
    return f'<figure class="grid">{shown}{below}</figure>'


def _png_uri(picture: np.ndarray | bytes) -> str:
    return uri(picture if isinstance(picture, bytes) else images.png(picture), 'image/png')


def side(pictures: Iterable[str]) -> str:
    """Put pictures side by side, as many as fit."""
    return f'<div class="side">{"".join(pictures)}</div>'


def pair(one: str, other: str) -> str:
    """Put two pictures side by side."""
    return f'<div class="pair">{one}{other}</div>'


def empty(sentence: str) -> str:
    """Return a sentence that is shown in place of pictures that do not exist yet."""
    return f'<div class="hint"><p class="small">{text(sentence)}</p></div>'


def progress(done: int, total: int, what: str) -> str:
    """Return a progress bar with a status line below it.

    Args:
      done: number of steps taken.
      total: number of all steps.
      what: a description of the work.
    """
    state = f'{what}: step {done} of {total}' if done < total else f'{what}: done'
    return (
        f'<progress max="{total}" value="{done}" aria-label="{text(what)}"></progress>'
        f'<p class="line" role="status">{text(state)}</p>'
    )


def compiling(seconds: float, longest: float, what: str) -> str:
    """Return a progress bar with a sentence that says that a program is being compiled, and how long it takes.

    Args:
      seconds: time since the compilation began, in seconds.
      longest: duration of the longest earlier compilation of the model, in seconds; 0 if there is none.
      what: a description of the job's result.
    """
    known = (
        f'The longest compilation of this model took {longest:.0f} s' if longest else 'It may take a minute on a CPU'
    )
    state = (
        f'{what}: compiling the program that makes them, for {seconds:.0f} s so far. {known}, and is needed only once '
        'for images with similar settings.'
    )
    return busy(what, state)


def busy(what: str, state: str) -> str:
    """Return a progress bar for work whose length is not known, with a sentence below it.

    Args:
      what: the name of the work, for screen readers.
      state: the sentence.
    """
    return f'<progress aria-label="{text(what)}"></progress><p class="line" role="status">{text(state)}</p>'


def metrics_line(result: Fields) -> str:
    """Return the metrics of an evaluation and its number of images as one line of text."""
    flat, protocol = flatten(dict(result)), result['protocol']
    known = [
        f'{words.title(path, protocol)} {flat[path]:{metric.form}}'
        + (f' ({metric.better} is better)' * (path == 'fid'))
        for path, metric in words.METRICS.items()
        if path in OF_A_MODEL and flat.get(path) is not None
    ]
    return f'{", ".join(known)}; {protocol["generated"]["count"]:,} images'


def download(name: str, data: bytes, kind: str, words: str) -> str:
    """Return a link that downloads a file.

    Args:
      name: name of the file.
      data: its bytes.
      kind: its media type.
      words: the text of the link.
    """
    return f'<a class="get" download="{text(name)}" href="{uri(data, kind)}">{text(words)}</a>'


def link(address: str, words: str) -> str:
    """Return a link to the grid that is shown."""
    return f'<a class="get share" href="{text(address)}">{text(words)}</a>'


def command(line: str, words: str = 'The same on the command line:') -> str:
    """Return a command line, which breaks between flags if it is too long.

    Args:
      line: the command line.
      words: the sentence above it.
    """
    flags = ' '.join(f'<span>{text(part)}</span>' for part in line.split(' '))
    return f'<p class="small">{text(words)}</p><pre tabindex="0" aria-label="command">{flags}</pre>'


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str, caption: str) -> str:
    """Return a chart of lines in the text colour of the page, which fits the window of a phone.

    Args:
      lines: the points ``(x, y)`` of each line.
      x: name of the horizontal axis.
      y: name of the vertical axis.
      caption: the text below.
    """
    svg = plots.curves(lines, x, y, plots.NARROW)
    chart = svg.replace('<svg', f'<svg role="img" aria-label="{text(caption)}"', 1)
    return f'<figure class="chart">{chart}<figcaption>{text(caption)}</figcaption></figure>'


def charts(figures: Iterable[str]) -> str:
    """Put charts side by side, as many as fit."""
    return f'<div class="charts">{"".join(figures)}</div>'


def metrics_table(results: Mapping[str, Fields]) -> str:
    """Return a table of metrics with a column for each result, and below it the protocols and how they differ."""
    flat = {name: flatten(dict(result)) for name, result in results.items()}
    rows: list[tuple[str, ...]] = []
    weak: dict[str, str] = {}
    reasons = weak_metrics.reasons(results.values())
    for path, metric in words.METRICS.items():
        cells = [
            format(one[path], metric.form) if one.get(path) is not None else no_value(path, one)
            for one in flat.values()
        ]
        if any(cells):
            title = ' or '.join(sorted({words.title(path, result['protocol']) for result in results.values()}))
            direction = f', {metric.better} is better' if metric.better else ''
            rows.append((title + direction, *cells))
            weak |= {title + direction: reasons[path]} if path in reasons else {}
    protocols = ''.join(
        f'<details><summary>Protocol of {text(name)}</summary>{table(["", name], _protocol(one))}</details>'
        for name, one in flat.items()
    )
    differing = differences([dict(result)['protocol'] for result in results.values()])
    notes = ''.join(pages.note(sentence) for sentence in difference_notes(differing))
    return table(['', *flat], rows, weak) + notes + protocols


def _protocol(flat: Fields) -> list[tuple[str, str]]:
    start = 'protocol.'
    return [(key.removeprefix(start), str(value)) for key, value in flat.items() if key.startswith(start)]
