"""Random keys: one root key for each seed, an independent stream for each use, and one key for each image.

There is no generator state to save: every key is ``jax.random.fold_in`` of the root key with numbers that identify its use.
"""

from __future__ import annotations

import jax

from jaxgen.types import Array

IMAGES_PRNG = 'threefry2x32'  # the generator of all images: a number depends only on its key, whatever the batch
STREAMS = ('init', 'train', 'sample', 'statistics', 'evaluation', 'interpretation')  # append new ones at the end


def root_key(seed: int, implementation: str = IMAGES_PRNG) -> Array:
    """Return the root key of a seed, from which all randomness of a run is derived.

    Args:
      seed: a whole number from 0 to 2**32 - 1.
      implementation: the generator of training steps, ``train.prng``: ``threefry2x32``, or ``rbg``, which is faster on TPUs
        but gives other bits under other shardings and batches. Code that samples, edits or evaluates images uses the default.
    """
    return jax.random.key(seed, impl=implementation)


def stream(key: Array, name: str) -> Array:
    """Return the independent key of one use of randomness, one of ``STREAMS``."""
    return jax.random.fold_in(key, STREAMS.index(name))


def image_keys(key: Array, indices: Array) -> Array:
    """Return one key for each image, so that image i depends only on the key and on i.

    Args:
      key: the key of the stream that the images come from.
      indices: int32 ``[N]``, the indices of the images in the whole set.

    Returns:
      Keys ``[N]``.

    Raises:
      ValueError: if the key is not of the generator ``IMAGES_PRNG``.
    """
    _require_independent(key)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, indices)


def normal_of_each(keys: Array, shape: tuple[int, ...]) -> Array:
    """Return standard normal numbers of a shape for each key, ``[N, *shape]``, so that row i depends only on key i.

    Raises:
      ValueError: if the keys are not of the generator ``IMAGES_PRNG``.
    """
    _require_independent(keys)
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def _require_independent(keys: Array) -> None:
    """Refuse keys of a generator whose numbers depend on the other keys of a batch, as those of rbg do."""
    implementation = str(jax.random.key_impl(keys))
    if implementation != IMAGES_PRNG:
        raise ValueError(
            f'with keys of the generator {implementation} an image depends on the others of its batch: make them with '
            f'jax.random.key(seed, impl={IMAGES_PRNG!r})'
        )
