"""Random weights for small DINOv2 networks, under the names of the published files."""

import pathlib

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxgen.models.published import dinov2, dinov2_weights
from jaxgen.models.published.dinov2 import DINOv2

TINY = DINOv2(features=24, num_blocks=2, num_heads=3, grid=5)


def tensors(network: DINOv2 = TINY, seed: int = 0) -> dict[str, np.ndarray]:
    """Return random tensors of a network as a file holds them, with the token that is for training alone."""
    side = network.patch_size * network.grid
    image = np.zeros((1, side, side, 3), np.float32)
    params = jax.eval_shape(network.init, jax.random.key(0), image)['params']
    rng, c = np.random.default_rng(seed), network.features

    def array(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.2, shape).astype(np.float32)

    found = {
        'embeddings.cls_token': array(1, 1, c),
        'embeddings.mask_token': array(1, c),
        'embeddings.position_embeddings': array(1, network.grid**2 + 1, c),
        'embeddings.patch_embeddings.projection.weight': array(c, 3, network.patch_size, network.patch_size),
        'embeddings.patch_embeddings.projection.bias': array(c),
        'layernorm.weight': array(c) + 1,
        'layernorm.bias': array(c),
    }
    for i in range(sum(name.startswith('block') for name in params)):
        block = f'encoder.layer.{i}'
        for part in ('attention.attention.query', 'attention.attention.key', 'attention.attention.value'):
            found |= {f'{block}.{part}.weight': array(c, c), f'{block}.{part}.bias': array(c)}
        for part, outputs, inputs in (('attention.output.dense', c, c), ('mlp.fc1', 4 * c, c), ('mlp.fc2', c, 4 * c)):
            found |= {f'{block}.{part}.weight': array(outputs, inputs), f'{block}.{part}.bias': array(outputs)}
        for norm in ('norm1', 'norm2'):
            found |= {f'{block}.{norm}.weight': array(c) + 1, f'{block}.{norm}.bias': array(c)}
        found |= {f'{block}.layer_scale{k}.lambda1': array(c) + 1 for k in (1, 2)}
    return found


def save(path: pathlib.Path, network: DINOv2 = TINY, seed: int = 0) -> pathlib.Path:
    """Write random tensors of a network to a ``.safetensors`` file, and return its path."""
    save_file(tensors(network, seed), path)
    return path


def replace_published(monkeypatch: pytest.MonkeyPatch, size: str) -> DINOv2:
    """Put ``TINY``, with its grid of positions, in the place of a published size, and return it."""
    own = dinov2.Size(TINY.features, TINY.num_blocks, TINY.num_heads)
    monkeypatch.setitem(dinov2.SIZES, size, own)
    monkeypatch.setattr(dinov2_weights, 'DINOv2', lambda *sizes: DINOv2(*sizes, grid=TINY.grid))
    return TINY
