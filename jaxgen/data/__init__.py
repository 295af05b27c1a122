"""Data sets: images with class labels, from which ``pipeline.batch(seed, step)`` takes batches.

Registered data sets, such as ``cifar10``, are read into memory. Your own images, however many, are prepared once: they are
resized and stored in one file in the cache, from which batches are read (``jaxgen.data.prepared``).

Example:
  >>> import jaxgen
  >>> train = jaxgen.data.load('digits:train', classes=['7', '1'])
  >>> train.images.shape, train.images.dtype
  ((287, 8, 8, 1), dtype('uint8'))
"""

from jaxgen.data.dataset import Dataset, from_arrays
from jaxgen.data.loading import load
from jaxgen.data.sources import SOURCES, Source

__all__ = ['SOURCES', 'Dataset', 'Source', 'from_arrays', 'load']
