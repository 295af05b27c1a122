"""What the network of a diffusion model refuses of the section ``config.model``."""

from __future__ import annotations

from ml_collections import ConfigDict

from jaxgen.errors import check, pick
from jaxgen.models import dit
from jaxgen.models.networks import NETWORKS
from jaxgen.models.unet import attention_levels


def check_network(model: ConfigDict, image_size: int) -> None:
    """Refuse a network that cannot be built for square images of this side.

    Raises:
      UserError: one sentence naming the field.
    """
    pick(model.name, NETWORKS, 'config.model.name')
    check(0 <= model.dropout < 1, f'config.model.dropout={model.dropout} must be at least 0 and below 1')
    check(model.norm_eps > 0, f'config.model.norm_eps={model.norm_eps} must be positive')
    check(
        model.base_channels >= 4 and model.base_channels % 2 == 0,
        f'config.model.base_channels={model.base_channels} must be even and at least 4',
    )
    check(
        image_size % model.patch_size == 0,
        f'config.data.image_size={image_size} does not divide by config.model.patch_size={model.patch_size}',
    )
    check_this_kind = {'unet': _check_unet, 'cnn': _check_cnn, 'dit': _check_dit}.get(model.name)
    if check_this_kind is not None:
        check_this_kind(model, image_size)


def _check_cnn(model: ConfigDict, image_size: int) -> None:
    check(
        model.base_channels % model.norm_groups == 0,
        f'config.model.norm_groups={model.norm_groups} does not divide config.model.base_channels={model.base_channels}',
    )
    _check_embedding(model, model.base_channels)


def _check_dit(model: ConfigDict, image_size: int) -> None:
    for divisor in (model.num_heads, 4):
        check(
            model.base_channels % divisor == 0,
            f'config.model.base_channels={model.base_channels} of a dit must divide by 4 and by config.model.num_heads='
            f'{model.num_heads}',
        )
    _check_embedding(model, dit.SINUSOIDS)


def _check_embedding(model: ConfigDict, sinusoids: int) -> None:
    check(
        model.freq_shift < sinusoids // 2,
        f'config.model.freq_shift={model.freq_shift} must be below half of the {sinusoids} sinusoids',
    )


def _check_unet(model: ConfigDict, image_size: int) -> None:
    check(
        len(model.channel_multipliers) > 0 and min(model.channel_multipliers) > 0,
        f'config.model.channel_multipliers={model.channel_multipliers} must be positive numbers',
    )
    halvings = 2 ** (len(model.channel_multipliers) - 1) * model.patch_size
    check(
        image_size % halvings == 0,
        f'config.data.image_size={image_size} does not divide by {halvings}: config.model.channel_multipliers has '
        f'{len(model.channel_multipliers)} levels and config.model.patch_size is {model.patch_size}',
    )
    _check_embedding(model, model.base_channels)
    check(
        model.downsample_padding in (0, 1),
        f'config.model.downsample_padding={model.downsample_padding} must be 0 or 1',
    )
    _check_widths(model, image_size // model.patch_size)


def _check_widths(model: ConfigDict, side: int) -> None:
    levels = len(model.channel_multipliers)
    attended = *attention_levels(levels, model.attention_resolutions, side), levels - 1  # the middle has it too
    for level, multiplier in enumerate(model.channel_multipliers):
        width = model.base_channels * multiplier
        by_width = ('attention_head_dim',) if level in attended else ()
        for field in ('norm_groups', *(by_width if model.attention_head_dim else ('num_heads',))):
            check(
                width % model[field] == 0,
                f'config.model.{field}={model[field]} does not divide a level of {width} channels '
                f'(config.model.base_channels={model.base_channels} times {multiplier})',
            )
