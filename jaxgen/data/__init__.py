"""Where images come from: a source -> one uint8 array in memory -> batch(seed, step)."""

from jaxgen.data.dataset import SOURCES, Dataset, Source, class_names, load

__all__ = ['SOURCES', 'Dataset', 'Source', 'class_names', 'load']
