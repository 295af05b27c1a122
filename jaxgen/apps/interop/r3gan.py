"""The names and layouts of the parameters of our R3GAN in the state dicts of the official networks.

The names are those of ``R3GAN.Networks.Generator`` and ``Discriminator`` in github.com/brownvc/R3GAN, which also store the filter
of each change of the resolution. ``kind`` is 'generator' or 'discriminator'.
"""

from __future__ import annotations

from collections.abc import Mapping

import flax.traverse_util
import numpy as np

from jaxgen.types import PyTree

Path = tuple[str, ...]

FILTER = (
    np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64
)  # equals the filter [1, 2, 1] after pixels are repeated
FILTER_NAME = 'Resampler.Kernel'
ENDS = {'to_image': 'AggregationLayer', 'from_image': 'ExtractionLayer'}
OF_BLOCK = {
    ('conv_1', 'kernel'): 'LinearLayer1.Layer.weight',
    ('bias_1',): 'NonLinearity1.Bias',
    ('conv_2',): 'LinearLayer2.Layer.weight',
    ('bias_2',): 'NonLinearity2.Bias',
    ('conv_3', 'kernel'): 'LinearLayer3.Layer.weight',
}


def to_official(params: PyTree, kind: str) -> dict[str, np.ndarray]:
    """Return the state dict of our parameters, with the filters."""
    flat = flax.traverse_util.flatten_dict(params)
    tensors = {name: _official_layout(path, np.asarray(flat[path]), kind) for name, path in _names(flat, kind).items()}
    return tensors | dict.fromkeys(_filter_names(flat, kind), FILTER)


def from_official(tensors: Mapping[str, np.ndarray], kind: str, params: PyTree) -> PyTree:
    """Return our parameters from a state dict; ``params`` is a tree with their structure."""
    flat = flax.traverse_util.flatten_dict(params)
    found = {path: _our_layout(path, tensors[name]) for name, path in _names(flat, kind).items()}
    return flax.traverse_util.unflatten_dict(found)


def _filter_names(paths: Mapping[Path, object], kind: str) -> list[str]:
    """Return the name of each filter in the state dict of the network that has these parameters."""
    stages, blocks = _sizes(paths)
    return [_layer(stage, None, kind, (stages, blocks)) + FILTER_NAME for stage in range(1, stages)]


def _names(paths: Mapping[Path, object], kind: str) -> dict[str, Path]:
    """Return the path of each of our parameters by its name in the official state dict."""
    sizes = _sizes(paths)
    return {_name(path, kind, sizes): path for path in paths}


def _sizes(paths: Mapping[Path, object]) -> tuple[int, int]:
    """Return the number of stages, and of residual blocks in each, of the network that has these parameters."""
    numbers = [path[0].split('_')[1:] for path in paths if path[0].startswith('block_')]
    return 1 + max(int(stage) for stage, _ in numbers), 1 + max(int(block) for _, block in numbers)


def _name(path: Path, kind: str, sizes: tuple[int, int]) -> str:
    module, *rest = path
    if module == 'label':
        return 'EmbeddingLayer.weight'
    if module in ENDS:
        return f'{ENDS[module]}.Layer.weight'
    if path == ('basis', 'basis'):
        return _layer(0, None, kind, sizes) + {'generator': 'Basis', 'discriminator': 'Basis.weight'}[kind]
    if module in ('basis', 'head'):
        return _layer(0, None, kind, sizes) + 'LinearLayer.weight'
    what, stage, *block = module.split('_')
    if what == 'block':
        return _layer(int(stage), int(block[0]), kind, sizes) + OF_BLOCK[tuple(rest)]
    return _layer(int(stage), None, kind, sizes) + 'LinearLayer.Layer.weight'


def _layer(stage: int, block: int | None, kind: str, sizes: tuple[int, int]) -> str:
    """Return the prefix of the names in a residual block or, if ``block`` is None, in a change of the resolution.

    The change of the resolution is the first layer of a stage in the generator, and the last layer of a stage in the
    discriminator, whose stages are counted from the image.
    """
    stages, blocks = sizes
    if kind == 'generator':
        return f'MainLayers.{stage}.Layers.{0 if block is None else block + 1}.'
    return f'MainLayers.{stages - 1 - stage}.Layers.{blocks if block is None else block}.'


def _official_layout(path: Path, x: np.ndarray, kind: str) -> np.ndarray:
    if path[-1] == 'conv_2':
        return np.ascontiguousarray(x.transpose(3, 2, 0, 1))
    if path[-1] == 'basis':
        x = np.ascontiguousarray(x.transpose(2, 0, 1))
        return x if kind == 'generator' else x[:, None]
    if x.ndim == 1:
        return x
    x = np.ascontiguousarray(x.T)
    return x if path[0] in ('basis', 'head', 'label') else x[:, :, None, None]


def _our_layout(path: Path, x: np.ndarray) -> np.ndarray:
    if path[-1] == 'conv_2':
        return np.ascontiguousarray(x.transpose(2, 3, 1, 0))
    if path[-1] == 'basis':
        return np.ascontiguousarray(x.reshape(-1, *x.shape[-2:]).transpose(1, 2, 0))
    if x.ndim == 1:
        return x
    return np.ascontiguousarray(x.reshape(x.shape[:2]).T)
