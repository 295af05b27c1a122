"""Data sets: a source is read into one uint8 array in memory, from which ``pipeline.batch(seed, step)`` takes batches.

Example:
  >>> import jaxgen
  >>> train = jaxgen.data.load('digits:train', classes=['7', '1'])
  >>> train.images.shape, train.images.dtype
  ((287, 8, 8, 1), dtype('uint8'))
"""

from jaxgen.data.dataset import SOURCES, Dataset, Source, class_names, load

__all__ = ['SOURCES', 'Dataset', 'Source', 'class_names', 'load']
