"""The published weights of the FID Inception network: download them, check them, and convert them once."""

from __future__ import annotations

import os
import pathlib

import numpy as np
from safetensors.numpy import load_file, save_file

from jaxgen.errors import UserError
from jaxgen.io import pth
from jaxgen.io.files import cache_dir, replacing
from jaxgen.io.hashes import file_hash, tensors_hash
from jaxgen.io.published import PublishedFile, published_path
from jaxgen.io.tensors import DAMAGED, require_finite
from jaxgen.schema import expanded
from jaxgen.types import PyTree

PUBLISHED = PublishedFile(
    what='the Inception weights',
    url='https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth',
    sha256='6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2',  # the file name contains the first digits
    max_bytes=128 * 2**20,  # the file has 91 MiB
    name='pt_inception-2015-12-05-6726825d.pth',
)
BATCH_NORM_EPSILON = 1e-3
CONVOLUTIONS = 94


def inception_variables(weights_path: str | os.PathLike | None = None) -> tuple[dict[str, PyTree], str]:
    """Return the variables of ``Inception`` and the hash of the tensors in the file.

    Args:
      weights_path: a ``.pth`` file with the tensor names of the published file, with or without the classifier. If not set,
        the published file is downloaded once.

    Returns:
      The variables, and a hash in hexadecimal digits.

    Raises:
      UserError: if the file does not exist, cannot be downloaded, or holds another network.

    Example:
      >>> from jaxgen import models
      >>> variables, digest = models.inception_variables()
      >>> list(variables)
      ['params']
    """
    source = pathlib.Path(expanded(weights_path)) if weights_path is not None else published_path(PUBLISHED)
    if not source.is_file():
        raise UserError(f'{weights_path} is not a file: name the .pth of the Inception weights')
    converted = cache_dir() / f'inception-{file_hash(source)}.safetensors'
    try:
        tensors = load_file(converted)
    except DAMAGED:  # also if the file does not exist yet
        tensors = _network_tensors(pth.read(source), source)
        with replacing(converted) as temporary:
            save_file(tensors, temporary, metadata={'format': 'np'})
    return {'params': _folded(tensors)}, tensors_hash(tensors)


def _network_tensors(tensors: dict[str, np.ndarray], source: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the tensors that the network needs, without PyTorch's counters of batches.

    Raises:
      UserError: if a tensor is missing, belongs to no layer, or is not finite.
    """
    kept = {k: v for k, v in tensors.items() if not k.endswith('num_batches_tracked')}
    layers = {k.removesuffix('.conv.weight') for k in kept if k.endswith('.conv.weight')}
    parts = ('conv.weight', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var')
    needed = {f'{layer}.{part}' for layer in layers for part in parts}
    unexpected = sorted(needed ^ (set(kept) - {'fc.weight', 'fc.bias'}))
    if len(layers) != CONVOLUTIONS or unexpected:
        about = f'; {unexpected[0]} is missing or out of place' if unexpected else ''
        raise UserError(
            f'{source} is not the FID Inception network, which has {CONVOLUTIONS} convolutions: found {len(layers)}{about}'
        )
    converted = {name: np.ascontiguousarray(value, np.float32) for name, value in kept.items()}
    require_finite(converted, source)
    return converted


def _folded(tensors: dict[str, np.ndarray]) -> dict[str, PyTree]:
    """Fold batch norm into kernels and biases: ``y = (W x - mean) gamma / sqrt(var + eps) + beta``."""
    params: dict[str, PyTree] = {}
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
