"""Your own images, however many: listed, converted to one size once, and kept in the cache as one file.

``folder``, ``hub`` and ``tfds`` list the files of a source (``listing``); ``convert`` makes a square image of each file, on all
cores; ``store`` writes the images to the cache and finds them again.
"""

from jaxgen.data.prepared.store import Prepared, prepared

__all__ = ['Prepared', 'prepared']
