"""Files: atomic writes, images, tensors, hashes, downloads, the names in a run directory.

Imports only ``jaxgen.schema`` and ``jaxgen.errors``.
"""
