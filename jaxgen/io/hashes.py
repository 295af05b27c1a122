"""Hashes that identify files and weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

import jax
import numpy as np

from jaxgen.types import PyTree


def file_hash(path: os.PathLike | str) -> str:
    """Return the SHA-256 of the bytes of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def tensors_hash(tensors: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of tensors; it does not depend on the format of their file.

    The hash covers names, shapes and float32 values, in the order of the names.
    """
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name], '<f4')
        total.update(f'{name}{value.shape}'.encode())
        total.update(value.tobytes())
    return total.hexdigest()


def weights_hash(variables: PyTree) -> str:
    """Return the :func:`tensors_hash` of a pytree of arrays, each named by its path in the tree."""
    leaves = jax.tree.leaves_with_path(jax.device_get(variables))
    return tensors_hash({jax.tree_util.keystr(path): np.asarray(value, np.float32) for path, value in leaves})
