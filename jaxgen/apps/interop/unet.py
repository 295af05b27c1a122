"""The names and layouts of the parameters of our UNet in the state dict of diffusers' ``UNet2DModel``."""

from __future__ import annotations

import re
from collections.abc import Mapping

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.io.tensors import require
from jaxgen.models.unet import UNet
from jaxgen.types import PyTree

LAYERS = {
    'time1': 'time_embedding.linear_1',
    'time2': 'time_embedding.linear_2',
    'label': 'class_embedding',
    'conv_in': 'conv_in',
    'norm_out': 'conv_norm_out',
    'conv_out': 'conv_out',
}
WITHIN_BLOCKS = {
    'norm1': 'norm1',
    'conv1': 'conv1',
    'emb': 'time_emb_proj',
    'norm2': 'norm2',
    'conv2': 'conv2',
    'shortcut': 'conv_shortcut',
    'norm': 'group_norm',
    'query': 'to_q',
    'key': 'to_k',
    'value': 'to_v',
    'out': 'to_out.0',
}
KINDS = {'kernel': 'weight', 'scale': 'weight', 'embedding': 'weight', 'bias': 'bias'}
# The names of attention layers before diffusers 0.15
OLD_NAMES = {'query': 'to_q', 'key': 'to_k', 'value': 'to_v', 'proj_attn': 'to_out.0'}


def to_diffusers(params: Mapping[str, PyTree], network: UNet) -> dict[str, np.ndarray]:
    """Return the state dict of a ``UNet2DModel`` with our parameters.

    Args:
      params: the parameters.
      network: the network that they belong to.
    """
    flat = flax.traverse_util.flatten_dict(params)
    return {
        name: np.ascontiguousarray(_to_layout(np.asarray(flat[path]), name))
        for path, name in _names(flat, network).items()
    }


def from_diffusers(
    tensors: Mapping[str, np.ndarray], network: UNet, image_size: int, where: object = 'the state dict'
) -> PyTree:
    """Return the parameters of a network from the state dict of a ``UNet2DModel``.

    Args:
      tensors: the state dict; attention layers may have their old names.
      network: the network.
      image_size: side of the images, in pixels.
      where: the file, for the message.

    Raises:
      UserError: naming a tensor that is missing, of another shape, or belongs to no layer.
    """
    shapes = flax.traverse_util.flatten_dict(parameter_shapes(network, image_size))
    tensors = {_current_name(name): x for name, x in tensors.items()}
    names = _names(shapes, network)
    require(
        tensors, {name: _to_layout(np.empty(shapes[path].shape), name).shape for path, name in names.items()}, where
    )
    return flax.traverse_util.unflatten_dict(
        {path: np.ascontiguousarray(_from_layout(tensors[name], name)) for path, name in names.items()}
    )


def parameter_shapes(network: UNet, image_size: int) -> dict[str, PyTree]:
    """Return the shape and dtype of each parameter of a network.

    Args:
      network: the network.
      image_size: side of the images, in pixels.
    """
    image = jnp.zeros((1, image_size, image_size, network.out_channels))
    zero = jnp.zeros(1, jnp.int32)
    return jax.eval_shape(lambda: network.init(jax.random.key(0), image, zero, zero)['params'])


def _names(paths: Mapping[tuple[str, ...], object], network: UNet) -> dict[tuple[str, ...], str]:
    """Return diffusers' name of each of our parameters, except of the augmentation layer, which sampling does not use."""
    return {path: _name(path, len(network.channel_multipliers)) for path in paths if path[0] != 'augment'}


def _name(path: tuple[str, ...], levels: int) -> str:
    module, kind = path[0], KINDS[path[-1]]
    if module in LAYERS:
        return f'{LAYERS[module]}.{kind}'
    if module.startswith('middle_'):
        block = {'0': 'resnets.0', '1': 'resnets.1', 'attention': 'attentions.0'}[module.removeprefix('middle_')]
        return f'mid_block.{block}.{WITHIN_BLOCKS[path[1]]}.{kind}'
    match = re.fullmatch(r'(down|up)(\d+)_(\d+|sample)(_attention)?', module)
    if match is None:
        raise ValueError(f'{module} is not a block of the UNet')
    direction, level, part, attention = match.groups()
    place = f'{direction}_blocks.{int(level) if direction == "down" else levels - 1 - int(level)}'
    if part == 'sample':
        return f'{place}.{direction}samplers.0.conv.{kind}'
    return f'{place}.{"attentions" if attention else "resnets"}.{part}.{WITHIN_BLOCKS[path[1]]}.{kind}'


def _current_name(name: str) -> str:
    return re.sub(r'(?<=\.)(query|key|value|proj_attn)(?=\.(weight|bias)$)', lambda match: OLD_NAMES[match[0]], name)


def _to_layout(x: np.ndarray, name: str) -> np.ndarray:
    """Return a kernel ``[..., inputs, outputs]`` as ``[outputs, inputs, ...]``; diffusers' shortcuts are 1x1 convolutions."""
    if x.ndim == 1 or name == 'class_embedding.weight':
        return x
    if 'conv_shortcut' in name:
        x = x[None, None]
    return x.transpose(3, 2, 0, 1) if x.ndim == 4 else x.T


def _from_layout(x: np.ndarray, name: str) -> np.ndarray:
    """Invert ``_to_layout``."""
    if x.ndim == 1 or name == 'class_embedding.weight':
        return x
    if 'conv_shortcut' in name:
        return x[:, :, 0, 0].T
    return x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T
