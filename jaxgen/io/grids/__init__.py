"""Grids of images with their labels inside the picture: one function, ``labelled``, draws every labelled grid of jaxgen."""

from jaxgen.io.grids.classes import by_class, spread
from jaxgen.io.grids.layout import GAP, Labels, labelled

__all__ = ['GAP', 'Labels', 'by_class', 'labelled', 'spread']
