"""The published weights of DINOv2: download and check them, and convert them to the variables of the linen network."""

from __future__ import annotations

import os
import pathlib

import numpy as np

from jaxgen.errors import UserError, pick
from jaxgen.io import tensors as tensor_files
from jaxgen.io.hashes import tensors_hash
from jaxgen.io.published import PublishedFile, published_path
from jaxgen.models.published.dinov2 import SIZES, DINOv2
from jaxgen.schema import expanded
from jaxgen.types import Fields, PyTree

HUB = 'https://huggingface.co/facebook'
# The revisions and SHA-256 are those that several other projects have recorded. The files have 330 and 1,161 MiB.
PUBLISHED = {
    'base': PublishedFile(
        what='the DINOv2 ViT-B/14 weights',
        url=f'{HUB}/dinov2-base/resolve/f9e44c814b77203eaa57a6bdbbd535f21ede1415/model.safetensors',
        sha256='d73036b56966966d07975d696bde331762f37297e2f095de8cea0040c3aa0841',
        max_bytes=400 * 2**20,
        name='dinov2-base-d73036b5.safetensors',
    ),
    'large': PublishedFile(
        what='the DINOv2 ViT-L/14 weights',
        url=f'{HUB}/dinov2-large/resolve/47b73eefe95e8d44ec3623f8890bd894b6ea2d6c/model.safetensors',
        sha256='399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23',
        max_bytes=1280 * 2**20,
        name='dinov2-large-399fba97.safetensors',
    ),
}
UNUSED = 'embeddings.mask_token'  # used only in training


def network_of(size: str) -> DINOv2:
    """Return the network of a published size.

    Args:
      size: a key of ``SIZES``.

    Raises:
      UserError: if there is no such size.
    """
    known = SIZES[pick(size, SIZES, 'the size of DINOv2')]
    return DINOv2(known.features, known.num_blocks, known.num_heads)


def dinov2_variables(
    weights_path: str | os.PathLike | None = None, size: str = 'large'
) -> tuple[dict[str, PyTree], str]:
    """Return the variables of ``DINOv2`` and the hash of the tensors in the file.

    Args:
      weights_path: a ``.safetensors`` file with the tensor names of the published file. If not set, the published file is
        downloaded once and compared with its SHA-256.
      size: ``base``, ViT-B/14, or ``large``, ViT-L/14.

    Returns:
      The variables, and a hash in hexadecimal digits.

    Raises:
      UserError: if the file does not exist, cannot be downloaded, or holds another network.

    Example:
      >>> from jaxgen import models
      >>> models.dinov2_variables('model.safetensors', 'base')
      Traceback (most recent call last):
      ...
      jaxgen.errors.UserError: model.safetensors is not a file: name the .safetensors of the DINOv2 weights
    """
    network = network_of(size)
    source = pathlib.Path(expanded(weights_path)) if weights_path is not None else published_path(PUBLISHED[size])
    if not source.is_file():
        raise UserError(f'{weights_path} is not a file: name the .safetensors of the DINOv2 weights')
    return read_variables(source, network)


def read_variables(source: pathlib.Path, network: DINOv2) -> tuple[dict[str, PyTree], str]:
    """Return the variables of a network from a file with the published tensor names, and the hash of its tensors.

    Raises:
      UserError: if the file is damaged, or a tensor is missing, has another shape, is not part of the network, or is not finite.
    """
    found = tensor_files.read(source)
    found.pop(UNUSED, None)
    tensor_files.require(found, _shapes(network), source)
    found = tensor_files.float32(found, source)
    return {'params': _params(found, network)}, tensors_hash(found)


def _shapes(network: DINOv2) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in a file of the network."""
    c, p, wide = network.features, network.patch_size, network.mlp_ratio * network.features
    shapes: dict[str, tuple[int, ...]] = {
        'embeddings.cls_token': (1, 1, c),
        'embeddings.position_embeddings': (1, network.grid**2 + 1, c),
        'embeddings.patch_embeddings.projection.weight': (c, 3, p, p),
        'embeddings.patch_embeddings.projection.bias': (c,),
        'layernorm.weight': (c,),
        'layernorm.bias': (c,),
    }
    layers = {f'attention.attention.{part}': (c, c) for part in ('query', 'key', 'value')}
    layers |= {'attention.output.dense': (c, c), 'mlp.fc1': (wide, c), 'mlp.fc2': (c, wide)}
    for i in range(network.num_blocks):
        block = f'encoder.layer.{i}'
        for name, shape in layers.items():
            shapes |= {f'{block}.{name}.weight': shape, f'{block}.{name}.bias': shape[:1]}
        for norm in ('norm1', 'norm2'):
            shapes |= {f'{block}.{norm}.weight': (c,), f'{block}.{norm}.bias': (c,)}
        shapes |= {f'{block}.layer_scale{k}.lambda1': (c,) for k in (1, 2)}
    return shapes


def _params(tensors: Fields, network: DINOv2) -> dict[str, PyTree]:
    """Convert tensors with the published names to the parameters of the linen network."""
    positions = tensors['embeddings.position_embeddings'][0]
    projection = tensors['embeddings.patch_embeddings.projection.weight']
    return {
        'class_token': tensors['embeddings.cls_token'][0, 0],
        'class_position': positions[0],
        'positions': positions[1:].reshape(network.grid, network.grid, network.features),
        'patches': {
            'kernel': projection.transpose(2, 3, 1, 0).reshape(-1, network.features),
            'bias': tensors['embeddings.patch_embeddings.projection.bias'],
        },
        **{f'block{i}': _block(tensors, f'encoder.layer.{i}') for i in range(network.num_blocks)},
        'norm': _norm(tensors, 'layernorm'),
    }


def _block(tensors: Fields, block: str) -> dict[str, PyTree]:
    qkv = [f'{block}.attention.attention.{part}' for part in ('query', 'key', 'value')]
    return {
        'norm1': _norm(tensors, f'{block}.norm1'),
        'qkv': _dense(tensors, *qkv),
        'out': _dense(tensors, f'{block}.attention.output.dense'),
        'scale1': tensors[f'{block}.layer_scale1.lambda1'],
        'norm2': _norm(tensors, f'{block}.norm2'),
        'mlp1': _dense(tensors, f'{block}.mlp.fc1'),
        'mlp2': _dense(tensors, f'{block}.mlp.fc2'),
        'scale2': tensors[f'{block}.layer_scale2.lambda1'],
    }


def _dense(tensors: Fields, *names: str) -> dict[str, np.ndarray]:
    """Return one dense layer that concatenates the outputs of all these layers."""
    kernel = np.concatenate([tensors[f'{name}.weight'] for name in names]).T
    return {'kernel': np.ascontiguousarray(kernel), 'bias': np.concatenate([tensors[f'{name}.bias'] for name in names])}


def _norm(tensors: Fields, name: str) -> dict[str, np.ndarray]:
    return {'scale': tensors[f'{name}.weight'], 'bias': tensors[f'{name}.bias']}
