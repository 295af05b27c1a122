"""Your own images, of any number: found, brought to one size once, and kept in the cache as one file.

``folder``, ``hub`` and ``tfds`` list what there is (``listing``); ``convert`` makes a square of a file, in as many processes as
there are cores; ``store`` keeps the result, and finds it again.
"""

from jaxgen.data.prepared.store import Prepared, prepared

__all__ = ['Prepared', 'prepared']
