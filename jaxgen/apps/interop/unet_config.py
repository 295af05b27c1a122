"""Translate diffusers' description of a ``UNet2DModel`` into fields of ``config.model``, and back."""

from __future__ import annotations

from collections.abc import Sequence

from jaxgen.errors import UserError, check
from jaxgen.methods.diffusion.options import NetworkOptions
from jaxgen.models.unet import attention_levels
from jaxgen.types import Fields, JsonObject

# Defaults of diffusers 0.42, for a config.json that leaves fields out.
DEFAULTS = {
    'sample_size': None,
    'in_channels': 3,
    'out_channels': 3,
    'center_input_sample': False,
    'time_embedding_type': 'positional',
    'time_embedding_dim': None,
    'freq_shift': 0,
    'flip_sin_to_cos': True,
    'down_block_types': ('DownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D'),
    'mid_block_type': 'UNetMidBlock2D',
    'up_block_types': ('AttnUpBlock2D', 'AttnUpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'),
    'block_out_channels': (224, 448, 672, 896),
    'layers_per_block': 2,
    'mid_block_scale_factor': 1,
    'downsample_padding': 1,
    'downsample_type': 'conv',
    'upsample_type': 'conv',
    'dropout': 0.0,
    'act_fn': 'silu',
    'attention_head_dim': 8,
    'norm_num_groups': 32,
    'attn_norm_num_groups': None,
    'norm_eps': 1e-5,
    'resnet_time_scale_shift': 'default',
    'add_attention': True,
    'class_embed_type': None,
    'num_class_embeds': None,
}
# Fields of which our UNet has no other values.
ONLY = {
    'center_input_sample': (False,),
    'time_embedding_type': ('positional',),
    'mid_block_type': ('UNetMidBlock2D',),
    'mid_block_scale_factor': (1,),
    'downsample_type': ('conv',),
    'upsample_type': ('conv',),
    'downsample_padding': (0, 1),
    'act_fn': ('silu', 'swish'),
    'resnet_time_scale_shift': ('default',),
    'add_attention': (True,),
    'class_embed_type': (None,),
}


def to_model(theirs: Fields, model: NetworkOptions, image_size: int, where: object) -> JsonObject:
    """Return the fields of ``config.model`` that make our UNet the one that is described.

    Several values can describe the same network (resolutions at which there is no feature map; heads by number or by width):
    then those of ``model`` stay. Dropout and dtype do not change the function of the network, and are left out.

    Args:
      theirs: the contents of a ``config.json``.
      model: the options of the network as the user asked for them.
      image_size: side of the images, in pixels.
      where: the file, for the message.

    Raises:
      UserError: naming the field and the value that our UNet cannot have.
    """
    t = {**DEFAULTS, **theirs}
    for field, values in ONLY.items():
        _only(t, field, values, where)
    widths = _whole_numbers(t, 'block_out_channels', where)
    base, levels = widths[0], len(widths)
    check(
        not any(width % base for width in widths),
        f'{where}: block_out_channels={list(widths)} are not all multiples of the first, and jaxgen has no such levels',
    )
    _only(t, 'out_channels', (t['in_channels'],), where)
    _only(t, 'time_embedding_dim', (None, 4 * base), where)
    for field in ('layers_per_block', 'norm_num_groups'):
        _whole(t, field, where)
    _only(t, 'attn_norm_num_groups', (None, t['norm_num_groups']), where)
    attended, heads = _attended(t, levels, where), _heads(t, where)
    fields = {
        'name': 'unet',
        'conditional': t['num_class_embeds'] is not None,
        'base_channels': base,
        'channel_multipliers': tuple(width // base for width in widths),
        'num_res_blocks': t['layers_per_block'],
        'attention_resolutions': tuple(image_size >> level for level in attended),
        'num_heads': heads[0],
        'attention_head_dim': heads[1],
        'norm_groups': t['norm_num_groups'],
        'norm_eps': float(t['norm_eps']),
        'freq_shift': _whole(t, 'freq_shift', where),
        'flip_sin_to_cos': bool(t['flip_sin_to_cos']),
        'downsample_padding': t['downsample_padding'],
        'patch_size': 1,
    }
    if attention_levels(levels, model.attention_resolutions, image_size) == attended:
        fields['attention_resolutions'] = model.attention_resolutions
    if _head_dims(widths, attended, model.num_heads, model.attention_head_dim) == _head_dims(widths, attended, *heads):
        fields |= {'num_heads': model.num_heads, 'attention_head_dim': model.attention_head_dim}
    return fields


def _head_dims(
    widths: Sequence[int], attended: Sequence[int], num_heads: int, attention_head_dim: int | None
) -> dict[int, float]:
    """Return the channels of each attention head, by the width of the feature map.

    Args:
      widths: channels of each level.
      attended: levels with attention; the middle of the network has attention as well.
      num_heads: number of heads.
      attention_head_dim: channels of each head; ``num_heads`` decides if it is None.
    """
    attended_widths = {*(widths[level] for level in attended), widths[-1]}
    return {width: attention_head_dim or width / num_heads for width in attended_widths}


def from_model(model: NetworkOptions, image_size: int, channels: int, num_classes: int) -> JsonObject:
    """Return the ``config.json`` of the ``UNet2DModel`` that is our UNet.

    Args:
      model: the options of the network.
      image_size: side of the images, in pixels.
      channels: channels of the images.
      num_classes: number of classes, the null class of guidance included.

    Raises:
      UserError: naming the field of ``config.model`` that no ``UNet2DModel`` has.
    """
    _representable(model.name == 'unet', 'name', model.name, 'it is another network')
    multipliers, levels = model.channel_multipliers, len(model.channel_multipliers)
    _representable(model.patch_size == 1, 'patch_size', model.patch_size, 'it works on pixels, not on patches of them')
    _representable(
        multipliers[0] == 1,
        'channel_multipliers',
        multipliers,
        'its first level is as wide as the embedding of time, so the first multiplier must be 1',
    )
    widths = [model.base_channels * m for m in multipliers]
    attended = attention_levels(levels, model.attention_resolutions, image_size)
    head_dims = set(_head_dims(widths, attended, model.num_heads, model.attention_head_dim).values())
    one_head = model.attention_head_dim is None and model.num_heads == 1
    _representable(
        one_head or len(head_dims) == 1,
        'num_heads',
        model.num_heads,
        'its heads have as many channels at every width: train with config.model.attention_head_dim instead',
    )
    kinds = ['Attn' if level in attended else '' for level in range(levels)]
    return DEFAULTS | {
        '_class_name': 'UNet2DModel',
        'sample_size': image_size,
        'in_channels': channels,
        'out_channels': channels,
        'freq_shift': model.freq_shift,
        'flip_sin_to_cos': model.flip_sin_to_cos,
        'down_block_types': [f'{kind}DownBlock2D' for kind in kinds],
        'up_block_types': [f'{kind}UpBlock2D' for kind in reversed(kinds)],
        'block_out_channels': widths,
        'layers_per_block': model.num_res_blocks,
        'downsample_padding': model.downsample_padding,
        'dropout': model.dropout,
        'attention_head_dim': None if one_head else int(head_dims.pop()),
        'norm_num_groups': model.norm_groups,
        'norm_eps': model.norm_eps,
        'num_class_embeds': num_classes if model.conditional else None,
    }


def side(theirs: Fields, otherwise: int, where: object) -> int:
    """Return the side of the images in pixels.

    Args:
      theirs: the contents of a ``config.json``.
      otherwise: the side if they do not state it.
      where: the file, for the message.

    Raises:
      UserError: if they are not square.
    """
    size = theirs.get('sample_size')
    if size is None:
        return otherwise
    if isinstance(size, Sequence) and not isinstance(size, str) and len(set(size)) == 1:
        size = size[0]
    check(
        isinstance(size, int) and size > 0,
        f'{where}: sample_size={size} is not the side of a square, and all images are square in jaxgen',
    )
    return size


def _attended(t: Fields, levels: int, where: object) -> tuple[int, ...]:
    """Return the levels with self-attention."""
    attended = []
    for direction in ('Down', 'Up'):
        field = f'{direction.lower()}_block_types'
        kinds = {f'Attn{direction}Block2D': True, f'{direction}Block2D': False}
        types = [str(name).removeprefix('UNetRes') for name in t[field]]
        strange = [name for name in types if name not in kinds]
        check(not strange, f"{where}: {field} has {next(iter(strange), '')}, which is not a block of jaxgen's UNet")
        check(len(types) == levels, f'{where}: {field} and block_out_channels differ in number')
        types = types if direction == 'Down' else types[::-1]
        attended.append(tuple(level for level, name in enumerate(types) if kinds[name]))
    check(
        attended[0] == attended[1],
        f"{where}: up_block_types must have self-attention at the levels of down_block_types, as jaxgen's UNet has",
    )
    return attended[0]


def _heads(t: Fields, where: object) -> tuple[int, int | None]:
    """Return ``num_heads`` and ``attention_head_dim``."""
    return 1, None if t['attention_head_dim'] is None else _whole(t, 'attention_head_dim', where, least=1)


def _only(t: Fields, field: str, values: Sequence[object], where: object) -> None:
    has = ' or '.join(repr(value) for value in values)
    check(t[field] in values, f"{where}: {field}={t[field]!r} is not possible in jaxgen's UNet, which has {has}")


def _whole(t: Fields, field: str, where: object, least: int = 0) -> int:
    value = t[field]
    check(
        isinstance(value, int) and not isinstance(value, bool) and value >= least,
        f"{where}: {field}={value!r} is not possible in jaxgen's UNet: it must be a whole number, at least {least}",
    )
    return value


def _whole_numbers(t: Fields, field: str, where: object) -> tuple[int, ...]:
    values = t[field]
    good = isinstance(values, list | tuple) and values and all(isinstance(v, int) and v > 0 for v in values)
    check(bool(good), f'{where}: {field}={values!r} must be a list of widths')
    return tuple(values)


def _representable(holds: bool, field: str, value: object, why: str) -> None:
    if not holds:
        raise UserError(f'config.model.{field}={value} cannot be exported: diffusers has no such UNet2DModel ({why})')
