"""Grids of images with their labels inside the picture; ``labelled`` draws all labelled grids of jaxgen."""

from jaxgen.io.grids.classes import MOST_HEADS, by_class, spread
from jaxgen.io.grids.layout import GAP, NARROW_WIDTH, Labels, labelled

__all__ = ['GAP', 'MOST_HEADS', 'NARROW_WIDTH', 'Labels', 'by_class', 'labelled', 'spread']
