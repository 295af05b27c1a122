"""Grids of images with their labels inside the picture: one function, ``labelled``, draws every labelled grid of jaxgen."""

from jaxgen.io.grids.classes import MOST_HEADS, by_class, spread
from jaxgen.io.grids.layout import GAP, Labels, labelled

__all__ = ['GAP', 'MOST_HEADS', 'Labels', 'by_class', 'labelled', 'spread']
