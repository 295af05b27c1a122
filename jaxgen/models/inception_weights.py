"""The published weights of the FID Inception network: fetched, checked, and converted once."""

from __future__ import annotations

import hashlib
import os
import pathlib
import urllib.request
from typing import Any

import jax
import numpy as np
from safetensors.numpy import load_file, save_file

from jaxgen.errors import UserError
from jaxgen.io import pth
from jaxgen.io.download import reachable
from jaxgen.io.files import cache_dir, replacing

URL = 'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth'
SHA256_STARTS = '6726825d'  # PyTorch's convention: the name of a published file ends in the first digits of its sum
BATCH_NORM_EPSILON = 1e-3
CONVOLUTIONS = 94


def inception_variables(path: str = '') -> tuple[dict[str, Any], str]:
    """The variables of ``Inception`` and the hash of the tensors they came from.

    Args:
      path: a ``.pth`` with the names of the published file, with or without the classifier; empty for the published
        file itself, downloaded once.

    Raises:
      UserError: if the file cannot be had, or is not that of this network.
    """
    source = pathlib.Path(path).expanduser() if path else _downloaded()
    if not source.is_file():
        raise UserError(f'config.evaluation.inception_weights={path} is not a file')
    converted = cache_dir() / f'inception-{_sum(source)[:16]}.safetensors'
    if not converted.exists():
        tensors = _of_this_network(pth.read(source), source)
        with replacing(converted) as temporary:
            save_file(tensors, temporary, metadata={'format': 'np'})
    tensors = load_file(converted)
    return {'params': _folded(tensors)}, tensors_hash(tensors)


def tensors_hash(tensors: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and values in the order of the names: the same for any file they are stored in."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name], '<f4')
        total.update(f'{name}{value.shape}'.encode())
        total.update(value.tobytes())
    return total.hexdigest()


def weights_hash(variables: Any) -> str:
    """Of the tensors that a model draws with."""
    leaves = jax.tree.leaves_with_path(jax.device_get(variables))
    return tensors_hash({jax.tree_util.keystr(path): np.asarray(value, np.float32) for path, value in leaves})


def _of_this_network(tensors: dict[str, np.ndarray], source: pathlib.Path) -> dict[str, np.ndarray]:
    """Without the counters of batches; with all that the network needs.

    Raises:
      UserError: naming what is missing or too much.
    """
    kept = {k: v for k, v in tensors.items() if not k.endswith('num_batches_tracked')}
    layers = {k.removesuffix('.conv.weight') for k in kept if k.endswith('.conv.weight')}
    parts = ('conv.weight', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var')
    needed = {f'{layer}.{part}' for layer in layers for part in parts}
    strange = sorted(needed ^ (set(kept) - {'fc.weight', 'fc.bias'}))
    if len(layers) != CONVOLUTIONS or strange:
        about = f'; {strange[0]} is missing or out of place' if strange else ''
        raise UserError(
            f'{source} is not the FID Inception network, which has {CONVOLUTIONS} convolutions: found {len(layers)}{about}'
        )
    return {name: np.ascontiguousarray(value, np.float32) for name, value in kept.items()}


def _folded(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Kernels and biases with the batch normalisation in them: ``y = (W x - mean) gamma / sqrt(var + eps) + beta``."""
    params: dict[str, Any] = {}
    for name in (k.removesuffix('.conv.weight') for k in tensors if k.endswith('.conv.weight')):
        weight, gamma, beta, mean, var = (
            tensors[f'{name}.{part}'].astype(np.float64)
            for part in ('conv.weight', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var')
        )
        scale = gamma / np.sqrt(var + BATCH_NORM_EPSILON)
        kernel = (weight * scale[:, None, None, None]).transpose(2, 3, 1, 0)
        if kernel.shape[:2] == (1, 1):
            kernel = kernel[0, 0]
        params[name] = {'kernel': kernel.astype(np.float32), 'bias': (beta - mean * scale).astype(np.float32)}
    if 'fc.weight' in tensors:
        params['fc'] = {'kernel': np.ascontiguousarray(tensors['fc.weight'].T)}
    return params


def _downloaded() -> pathlib.Path:
    file = cache_dir() / URL.rpartition('/')[2]
    if file.exists():
        return file
    how = f'download it elsewhere, and put it at {file} or pass --config.evaluation.inception_weights=FILE'
    if not reachable(URL):
        raise UserError(f'the Inception weights are not at {file} and {URL} cannot be reached: {how}')
    try:
        with replacing(file) as temporary:
            urllib.request.urlretrieve(URL, os.fspath(temporary))
            if not _sum(temporary).startswith(SHA256_STARTS):
                raise UserError(f'what {URL} sent is not the published file (its SHA-256 is another): {how}')
    except OSError as e:
        raise UserError(f'downloading {URL} failed ({e}): {how}') from e
    return file


def _sum(file) -> str:
    return hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()
