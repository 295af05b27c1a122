"""Files: atomic writes, images, tensors, hashes, downloads, and the names in a run directory.

This package imports nothing else of jaxgen but ``jaxgen.schema``, ``jaxgen.errors`` and ``jaxgen.types``.
"""
