"""Random keys: one root key a seed, an independent stream for each use, and one key for each image.

There is no generator state to save: every key is ``jax.random.fold_in`` of the root key with numbers that say what it is for.
"""

from __future__ import annotations

import jax

from jaxgen.types import Array

STREAMS = ('init', 'train', 'sample', 'statistics', 'evaluation', 'interpretation')  # append new ones at the end


def root_key(seed: int, implementation: str = 'threefry2x32') -> Array:
    """Return the root key of a seed, from which all randomness of a run is derived.

    Args:
      seed: a whole number from 0 to 2**32 - 1.
      implementation: ``threefry2x32``, or ``rbg``, which is faster on TPUs but gives other bits under other shardings.
    """
    return jax.random.key(seed, impl=implementation)


def stream(key: Array, name: str) -> Array:
    """Return the independent key of one use of randomness, one of ``STREAMS``."""
    return jax.random.fold_in(key, STREAMS.index(name))


def image_keys(key: Array, indices: Array) -> Array:
    """Return one key for each image, so that image i depends on the key and on i alone.

    Args:
      key: the key of the stream that the images come from.
      indices: int32 ``[N]``, the places of the images in the whole set.

    Returns:
      Keys ``[N]``.
    """
    return jax.vmap(jax.random.fold_in, (None, 0))(key, indices)
