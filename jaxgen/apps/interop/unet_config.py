"""Translate diffusers' description of a ``UNet2DModel`` into fields of ``config.model``, and back."""

from __future__ import annotations

from collections.abc import Sequence

from jaxgen.errors import UserError, check, shown
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
# The range of each whole number, and the fields that may be null. Larger networks do not fit on a device.
WHOLE = {
    'in_channels': (1, 2**14),
    'layers_per_block': (0, 16),
    'norm_num_groups': (0, 2**14),
    'freq_shift': (0, 2**10),
    'attention_head_dim': (1, 2**14),
    'num_class_embeds': (1, 2**20),
}
MAY_BE_NONE = ('attention_head_dim', 'num_class_embeds')
MAX_LEVELS, MAX_WIDTH, MAX_SIDE = 12, 2**14, 2**14
# Fields with the only values that our UNet supports.
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
    """Return the fields of ``config.model`` with which our UNet is the one that diffusers describes.

    If several values describe the same network (resolutions at which there is no feature map; heads by number or by width), the
    values of ``model`` are kept. Dropout and dtype do not change the function of the network, and are left out.

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
    for field, (least, most) in WHOLE.items():
        _whole(t, field, least, most, where)
    check(
        isinstance(t['norm_eps'], float) and 0 < t['norm_eps'] < 1,
        f'{where}: norm_eps={shown(t["norm_eps"])} is not a small number above 0',
    )
    widths = _widths(t, where)
    base, levels = widths[0], len(widths)
    check(
        not any(width % base for width in widths),
        f'{where}: block_out_channels={list(widths)} are not all multiples of the first, and jaxgen has no such levels',
    )
    _only(t, 'out_channels', (t['in_channels'],), where)
    _only(t, 'time_embedding_dim', (None, 4 * base), where)
    _only(t, 'flip_sin_to_cos', (True, False), where)
    _only(t, 'attn_norm_num_groups', (None, t['norm_num_groups']), where)
    attended, heads = _attended(t, levels, where), (1, t['attention_head_dim'])
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
        'norm_eps': t['norm_eps'],
        'freq_shift': t['freq_shift'],
        'flip_sin_to_cos': t['flip_sin_to_cos'],
        'downsample_padding': int(t['downsample_padding']),
        'patch_size': 1,
        'pixel_channels': None,
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
    """Return the ``config.json`` of the ``UNet2DModel`` that equals our UNet.

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
      otherwise: the side if the ``config.json`` does not state it.
      where: the file, for the message.

    Raises:
      UserError: if the images are not square.
    """
    size = theirs.get('sample_size')
    if size is None:
        return otherwise
    if isinstance(size, list | tuple) and len(size) == 2 and size[0] == size[1]:
        size = size[0]
    check(
        type(size) is int and 0 < size <= MAX_SIDE,
        f'{where}: sample_size={shown(size)} is not the side of a square, and all images are square in jaxgen',
    )
    return size


def _attended(t: Fields, levels: int, where: object) -> tuple[int, ...]:
    """Return the levels with self-attention."""
    attended = []
    for direction in ('Down', 'Up'):
        field = f'{direction.lower()}_block_types'
        kinds = {f'Attn{direction}Block2D': True, f'{direction}Block2D': False}
        stated = t[field] if isinstance(t[field], list | tuple) else [t[field]]
        types = [name.removeprefix('UNetRes') if isinstance(name, str) else name for name in stated]
        for name in types:
            is_known = isinstance(name, str) and name in kinds
            check(is_known, f"{where}: {field} has {shown(name)}, which is not a block of jaxgen's UNet")
        check(len(types) == levels, f'{where}: {field} and block_out_channels differ in number')
        types = types if direction == 'Down' else types[::-1]
        attended.append(tuple(level for level, name in enumerate(types) if kinds[name]))
    check(
        attended[0] == attended[1],
        f"{where}: up_block_types must have self-attention at the levels of down_block_types, as jaxgen's UNet has",
    )
    return attended[0]


def _only(t: Fields, field: str, values: Sequence[object], where: object) -> None:
    has = ' or '.join(repr(value) for value in values)
    # True == 1 in Python, so a bool must not pass for a number.
    same = [value for value in values if value == t[field] and isinstance(value, bool) == isinstance(t[field], bool)]
    check(bool(same), f"{where}: {field}={shown(t[field])} is not possible in jaxgen's UNet, which has {has}")


def _whole(t: Fields, field: str, least: int, most: int, where: object) -> None:
    value = t[field]
    check(
        (type(value) is int and least <= value <= most) or (value is None and field in MAY_BE_NONE),
        f"{where}: {field}={shown(value)} is not possible in jaxgen's UNet: it must be a whole number from {least} to {most}",
    )


def _widths(t: Fields, where: object) -> tuple[int, ...]:
    widths = t['block_out_channels']
    check(
        isinstance(widths, list | tuple)
        and 0 < len(widths) <= MAX_LEVELS
        and all(type(width) is int and 0 < width <= MAX_WIDTH for width in widths),
        f'{where}: block_out_channels={shown(widths)} must be a list of at most {MAX_LEVELS} widths, each at most {MAX_WIDTH}',
    )
    return tuple(widths)


def _representable(holds: bool, field: str, value: object, why: str) -> None:
    if not holds:
        raise UserError(f'config.model.{field}={value} cannot be exported: diffusers has no such UNet2DModel ({why})')
