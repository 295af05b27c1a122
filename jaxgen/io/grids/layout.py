"""Lay out and draw a grid of images with labels.

All labels have the same font, at a size that stays legible when a page shows the picture ``PAGE_WIDTH`` pixels wide, or
``NARROW_WIDTH`` pixels if the grid is made for phones.
"""

from __future__ import annotations

import functools
import math
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAGE_WIDTH, NARROW_WIDTH = 660, 344  # in pixels: widths to which a page, or a phone, may shrink a grid
LETTERS = 12  # in pixels: font size at that width, which is 9 pt
TILE, LARGEST_TILE = (
    64,
    128,
)  # in pixels: range of the side to which small images are enlarged; fewer columns, larger tiles
GAP = 4  # in pixels: distance between the images of a grid
NARROWEST = 200  # in pixels: smallest width of a grid, so that its title and footer have room
MOST_LINES = 3  # largest number of lines of a label; longer labels are cut

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Labels(NamedTuple):
    """A set of labels for a grid; all of them may be left out.

    Attributes:
      title: text above the grid.
      columns: headings of the columns, from left to right.
      rows: names of the rows, from top to bottom.
      captions: text below each image.
    """

    title: str = ''
    columns: Sequence[str] = ()
    rows: Sequence[str] = ()
    captions: Sequence[str] = ()


def labelled(
    images: np.ndarray, labels: Labels | None = None, columns: int | None = None, page_width: int = PAGE_WIDTH
) -> np.ndarray:
    """Arrange images in one picture with labels, row by row.

    Small images are enlarged by a whole factor, so that each pixel becomes a square; a footer then states their true size.

    Args:
      images: uint8 ``[N, H, W, C]``.
      labels: the labels of the grid; only a footer, if needed, if not set.
      columns: images per row; if not set, the number of column headings, or without headings a grid as square as possible.
      page_width: smallest width in pixels at which the labels must be legible.

    Returns:
      uint8 ``[H', W', C]``.
    """
    labels = labels or Labels()
    columns = columns or len(labels.columns) or math.ceil(math.sqrt(len(images)))
    return _Layout(images, labels, columns, page_width).draw()


class _Layout:
    """A layout of a grid: the sizes of all its parts in pixels, and the function that draws it."""

    def __init__(self, images: np.ndarray, labels: Labels, columns: int, page_width: int = PAGE_WIDTH):
        height, width = images.shape[1:3]
        target = min(max(page_width // columns - GAP, TILE), LARGEST_TILE)
        self.page_width = page_width
        self.scale = max(1, target // height)
        self.images = images.repeat(self.scale, axis=1).repeat(self.scale, axis=2)
        self.labels, self.columns = labels, columns
        self.num_rows = math.ceil(len(images) / columns)
        self.footer = f'images of {width}x{height} pixels, enlarged' if self.scale > 1 else ''
        self.tile_height, self.tile_width = self.images.shape[1:3]
        self.size, self.left, self.width = self._sizes()
        self.font = _font(self.size)
        self.line = math.ceil(1.25 * self.size)
        self.title = self._wrapped([labels.title], self.width - 2 * GAP)
        self.heads = self._wrapped(labels.columns, self.tile_width, GAP)
        self.names = self._wrapped(labels.rows, self.left)
        self.captions = self._wrapped(labels.captions, self.tile_width, GAP)
        self.foot = self._wrapped([self.footer], self.width - 2 * GAP)

    def _sizes(self) -> tuple[int, int, int]:
        """Return the font size, the width of the row names, and the width of the whole picture."""
        grid = self.columns * (self.tile_width + GAP) + GAP
        size = LETTERS
        while True:
            font = _font(size)
            names = [_wrap(name, font, 8 * size) for name in self.labels.rows]
            left = max((math.ceil(font.getlength(line)) for lines in names for line in lines), default=-GAP) + GAP
            width = max(grid + left, NARROWEST)
            needed = max(LETTERS, round(LETTERS * width / self.page_width))
            if needed <= size:
                return size, left, width
            size = needed

    def _wrapped(self, texts: Sequence[str], width: int, spare: int = 0) -> list[list[str]]:
        return [_wrap(text, self.font, width, spare) for text in texts]

    def _height(self, blocks: Sequence[Sequence[str]]) -> int:
        """Return the height of blocks of lines that are next to each other."""
        return self.line * max(map(len, blocks), default=0)

    def draw(self) -> np.ndarray:
        """Draw the grid and return the picture, uint8 ``[H', W', C]``."""
        title, heads = self._height(self.title), self._height(self.heads)
        top = title + heads + GAP
        caption = self._height(self.captions)
        row_height = self.tile_height + caption + GAP
        bottom = top + self.num_rows * row_height
        is_grey = self.images.shape[-1] == 1
        height = bottom + self._height(self.foot)
        canvas = Image.new('L' if is_grey else 'RGB', (self.width, height), 'white')
        pen = ImageDraw.Draw(canvas)
        self._write(pen, self.title, [(GAP, 0)])
        self._write(pen, self.foot, [(GAP, bottom)])
        places = [self._x(column) + self.tile_width // 2 for column in range(self.columns)]
        for head, x in zip(self.heads, places, strict=False):
            self._write(pen, [head], [(x, title + heads - self.line * len(head))], centred=True)
        for row, name in enumerate(self.names):
            middle = top + row * row_height + self.tile_height // 2
            self._write(pen, [name], [(GAP // 2, middle - self.line * len(name) // 2)])
        for i, image in enumerate(self.images):
            x, y = self._x(i % self.columns), top + i // self.columns * row_height
            canvas.paste(Image.fromarray(image[..., 0] if is_grey else image), (x, y))
            if self.captions:
                self._write(pen, [self.captions[i]], [(x + self.tile_width // 2, y + self.tile_height)], centred=True)
        pixels = np.asarray(canvas)
        return pixels[..., None] if is_grey else pixels

    def _x(self, column: int) -> int:
        return self.left + GAP + column * (self.tile_width + GAP)

    def _write(
        self,
        pen: ImageDraw.ImageDraw,
        blocks: Sequence[Sequence[str]],
        places: Sequence[tuple[int, int]],
        centred: bool = False,
    ) -> None:
        """Write blocks of lines: a place is the upper left corner of a block, or the middle of its upper side if centred."""
        for lines, (x, y) in zip(blocks, places, strict=True):
            for number, line in enumerate(lines):
                start = x - self.font.getlength(line) / 2 if centred else x
                pen.text((start, y + number * self.line), line, fill='black', font=self.font)


def _wrap(text: str, font: Font, width: float, spare: float = 0) -> list[str]:
    """Break a text between words, and at its line breaks, into lines no wider than ``width``.

    A single word may be wider by up to ``spare``; a longer word is cut.
    """
    lines: list[str] = []
    for word in re.findall(r'[^\s_/-]+[_/-]*\s*|[\s_/-]+', text):
        if lines and not lines[-1].endswith('\n') and font.getlength((lines[-1] + word).rstrip()) <= width:
            lines[-1] += word
        else:
            lines.append(word)
    kept = [line.rstrip() for line in lines[:MOST_LINES]]
    if len(lines) > MOST_LINES:
        kept[-1] += '…'
    return [_cut(line, font, width + spare) for line in kept]


def _cut(line: str, font: Font, width: float) -> str:
    """Shorten a line that is wider than ``width``."""
    while len(line) > 1 and font.getlength(line) > width:
        line = line.removesuffix('…')[:-1] + '…'
    return line


@functools.cache
def _font(size: int) -> Font:
    """Return the font of all labels: DejaVu Sans, as in the charts."""
    import matplotlib

    file = pathlib.Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')
    return ImageFont.truetype(str(file), size) if file.exists() else ImageFont.load_default(size)
