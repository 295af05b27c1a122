"""A painter of masks at the resolution of the network, with a pointer or with the arrow keys and the space bar."""

from __future__ import annotations

import json

import gradio as gr
import numpy as np

from jaxgen.apps.demo import views
from jaxgen.errors import check
from jaxgen.io import images

PRESETS = ('nothing', 'everything', 'left half', 'right half', 'top half', 'bottom half', 'middle')
# The label and the value of each preset
CHOICES = [('no mask: the whole picture may change', PRESETS[0]), *((name, name) for name in PRESETS[1:])]
HTML = """<div class="jg"><canvas class="painter" width="384" height="384" tabindex="0" role="application"
aria-label="Mask over the picture. Arrow keys move, the space bar paints or clears a pixel."></canvas>
<p class="line small" role="status"></p></div>"""
STYLE = """canvas { width: min(100%, 24rem); aspect-ratio: 1; touch-action: none; cursor: crosshair;
image-rendering: pixelated; border: 1px solid var(--border-color-primary); border-radius: .4rem; }
canvas:focus-visible { outline: 3px solid var(--color-accent); }"""
SCRIPT = """
let row = 0, column = 0, brush = null, cells = [], side = 8, photo = new Image();
const canvas = () => element.querySelector('canvas');
function read() {
  const given = JSON.parse(props.value);
  side = given.side; cells = given.cells.split('');
  photo.onload = draw; photo.src = given.picture;
}
function draw() {
  const c = canvas().getContext('2d'), unit = 384 / side;
  c.imageSmoothingEnabled = false;
  c.drawImage(photo, 0, 0, 384, 384);
  c.fillStyle = 'rgba(230, 60, 60, 0.6)';
  cells.forEach((on, i) => on === '1' && c.fillRect(i % side * unit, Math.floor(i / side) * unit, unit, unit));
  if (document.activeElement === canvas()) {
    c.lineWidth = 3; c.strokeStyle = '#fff'; c.strokeRect(column * unit, row * unit, unit, unit);
    c.lineWidth = 1; c.strokeStyle = '#000'; c.strokeRect(column * unit, row * unit, unit, unit);
  }
}
function say() {
  const painted = cells.filter(on => on === '1').length;
  const here = cells[row * side + column] === '1' ? 'painted' : 'kept';
  element.querySelector('p').textContent =
    `row ${row + 1}, column ${column + 1}: ${here}; ${painted} of ${cells.length} pixels may change`;
}
function keep() {
  props.value = JSON.stringify({...JSON.parse(props.value), cells: cells.join('')});
}
function place(event) {
  const box = canvas().getBoundingClientRect();
  const at = z => Math.max(0, Math.min(side - 1, Math.floor(z * side)));
  column = at((event.clientX - box.left) / box.width); row = at((event.clientY - box.top) / box.height);
}
function set(on) { cells[row * side + column] = on; draw(); say(); }
element.addEventListener('pointerdown', event => {
  if (event.target !== canvas()) return;
  canvas().setPointerCapture(event.pointerId); place(event);
  brush = cells[row * side + column] === '1' ? '0' : '1'; set(brush);
});
element.addEventListener('pointermove', event => { if (brush !== null) { place(event); set(brush); } });
element.addEventListener('pointerup', () => { if (brush !== null) { brush = null; keep(); } });
element.addEventListener('keydown', event => {
  const moves = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
  if (event.target !== canvas() || !(moves || event.key === ' ')) return;
  event.preventDefault();
  if (moves) {
    row = (row + moves[0] + side) % side; column = (column + moves[1] + side) % side; draw(); say();
  } else {
    set(cells[row * side + column] === '1' ? '0' : '1'); keep();
  }
});
element.addEventListener('focusin', draw);
element.addEventListener('focusout', draw);
watch('value', read);
read();
"""


def painter(picture: np.ndarray | None = None) -> gr.HTML:
    """Make the painter, whose value is that of :func:`value` until the visitor changes it.

    Args:
      picture: uint8 ``[H, H, C]``; a grey one if not given.
    """
    shown = np.full((8, 8, 1), 128, np.uint8) if picture is None else picture
    return gr.HTML(value(shown, 'nothing'), html_template=HTML, css_template=STYLE, js_on_load=SCRIPT, label='Mask')


def value(picture: np.ndarray, preset: str) -> str:
    """Return the value of the painter: JSON with an image and the pixels of its mask, row by row, 1 where the model paints.

    Args:
      picture: uint8 ``[H, H, C]``.
      preset: one of ``PRESETS``.
    """
    cells = ''.join('1' if on else '0' for on in _preset(preset, len(picture)).ravel())
    return json.dumps({'side': len(picture), 'picture': views.uri(images.png(picture), 'image/png'), 'cells': cells})


def mask(painted: str | None, side: int) -> np.ndarray | None:
    """Return the painted mask, float32 ``[side, side, 1]``, 1 where the model paints; None if no pixel is painted.

    Args:
      painted: the value of the painter.
      side: side of the image in pixels.

    Raises:
      UserError: if ``painted`` is not a value of the painter, or has another size.
    """
    try:
        cells = json.loads(painted or '{}').get('cells', '')
        painted_cells = np.frombuffer(cells.encode(), np.uint8) - ord('0')
    except (ValueError, AttributeError, RecursionError):
        painted_cells = np.full(1, 2)
    check(
        bool((painted_cells <= 1).all()),
        'the mask is not one that the painter made: upload the picture again, and paint a new mask',
    )
    if not painted_cells.any():
        return None
    check(
        painted_cells.size == side * side,
        f'the mask has {painted_cells.size} pixels, the picture {side}x{side}: upload the picture again, and paint a new mask',
    )
    return painted_cells.astype(np.float32).reshape(side, side, 1)


def _preset(name: str, side: int) -> np.ndarray:
    """Return a mask by its name, bool ``[side, side]``."""
    rows, columns = np.mgrid[:side, :side] * 2 + 1
    middle = (abs(rows - side) < side / 2) & (abs(columns - side) < side / 2)
    everywhere = np.ones((side, side), bool)
    masks = (~everywhere, everywhere, columns < side, columns > side, rows < side, rows > side, middle)
    return dict(zip(PRESETS, masks, strict=True))[name]
