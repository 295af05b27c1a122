"""Data sets: a source is read into one uint8 array in memory, from which ``pipeline.batch(seed, step)`` takes batches.

Example::

    train = jaxgen.data.load('cifar10:train', classes=['dog', 'horse'])
    train.images  # uint8 [10000, 32, 32, 3]
"""

from jaxgen.data.dataset import SOURCES, Dataset, Source, class_names, load

__all__ = ['SOURCES', 'Dataset', 'Source', 'class_names', 'load']
