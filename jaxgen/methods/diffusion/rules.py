"""The rules for options of a diffusion model that concern several sections."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from jaxgen.diffusion import compatibility
from jaxgen.methods.diffusion.options import (
    GUIDE_FIELDS,
    DiffusionOptimizerOptions,
    DiffusionOptions,
    DiffusionSampleOptions,
    NetworkOptions,
)
from jaxgen.models import dit
from jaxgen.models.networks import NETWORKS
from jaxgen.models.unet import attention_levels
from jaxgen.schema import OptionError, require

# The options from which the arguments of ``diffusion.compatibility`` come
ARGUMENTS = {
    'schedule': 'diffusion.schedule',
    'prediction': 'diffusion.parameterisation',
    'weighting': 'diffusion.weighting',
    'variance': 'diffusion.variance',
    'sampler': 'sample.sampler',
}


def require_together(
    model: NetworkOptions,
    diffusion: DiffusionOptions,
    optimizer: DiffusionOptimizerOptions,
    sample: DiffusionSampleOptions,
    image_size: int,
) -> None:
    """Refuse options of different sections that do not go together.

    Args:
      model: options of the network.
      diffusion: options of the process and the loss.
      optimizer: options of the optimizer.
      sample: options of sampling.
      image_size: side of the images in pixels.

    Raises:
      OptionError: naming the section and the field.
    """
    _require_compatible(diffusion, sample)
    _require_guidance(model, diffusion, sample)
    require(
        sample.ema_length is None or optimizer.ema_lengths is not None,
        'sample.ema_length',
        ' needs the snapshots of a run that was trained with optimizer.ema_lengths=0.05,0.1',
    )
    require(
        image_size % model.patch_size == 0,
        'data.image_size',
        f'={image_size} does not divide by model.patch_size={model.patch_size}',
    )
    require(
        model.pixel_channels is None or (model.name == 'unet' and model.patch_size > 1),
        'model.pixel_channels',
        f'={model.pixel_channels} is for a UNet on patches: set model.name=unet and model.patch_size above 1, or leave it out',
    )
    require(
        diffusion.augment is None or 'augment_dim' in NETWORKS[model.name].__dataclass_fields__,
        'diffusion.augment',
        f'={diffusion.augment} needs a network that takes the condition numbers of the augmentation: model.name={model.name} '
        f'has no field augment_dim',
    )
    if model.name in NETWORK_RULES:
        NETWORK_RULES[model.name](model, image_size)


def _require_compatible(diffusion: DiffusionOptions, sample: DiffusionSampleOptions) -> None:
    d = diffusion
    reason = compatibility.incompatibility_reason(
        d.schedule, d.parameterisation, d.weighting, d.variance, sample.sampler
    )
    if reason is not None:
        named = re.sub(r'\b(\w+)=', lambda match: f'{ARGUMENTS[match[1]]}=', reason)
        field, _, rest = named.partition('=')
        raise OptionError(field, f'={rest} (--mode=help lists what goes together)')
    require(
        sample.num_steps <= d.timesteps or not compatibility.is_discrete(d.schedule),
        'sample.num_steps',
        f'={sample.num_steps} must be at most diffusion.timesteps={d.timesteps}',
    )


def _require_guidance(model: NetworkOptions, diffusion: DiffusionOptions, sample: DiffusionSampleOptions) -> None:
    require(
        model.conditional or diffusion.label_dropout == 0,
        'diffusion.label_dropout',
        f'={diffusion.label_dropout} needs a network that takes class labels: set model.conditional=True, or '
        f'diffusion.label_dropout=0 and sample.guidance_scale=1',
    )
    require(
        sample.guidance_scale == 1 or diffusion.label_dropout > 0,
        'sample.guidance_scale',
        f'={sample.guidance_scale} needs a network that was trained with and without class labels: set '
        f'model.conditional=True and diffusion.label_dropout=0.1, for example; or set it to 1',
    )
    require(
        sample.guidance_scale == 1 or diffusion.parameterisation != compatibility.MEAN_FLOW,
        'sample.guidance_scale',
        f'={sample.guidance_scale} must be 1: the mean velocity of mean_flow is not guided',
    )
    guide_field = next((name for name in GUIDE_FIELDS if getattr(sample, name) is not None), GUIDE_FIELDS[0])
    require(
        not sample.has_guide or diffusion.parameterisation not in compatibility.FEW_STEP,
        f'sample.{guide_field}',
        f'={getattr(sample, guide_field)} must be unset: autoguidance corrects the steps of a sampler, and '
        f'{diffusion.parameterisation} takes hardly any',
    )


def _require_cnn(model: NetworkOptions, image_size: int) -> None:
    require(
        model.base_channels % model.norm_groups == 0,
        'model.norm_groups',
        f'={model.norm_groups} does not divide model.base_channels={model.base_channels}',
    )
    _require_embedding(model, model.base_channels)


def _require_dit(model: NetworkOptions, image_size: int) -> None:
    require(
        model.base_channels % model.num_heads == 0 and model.base_channels % 4 == 0,
        'model.base_channels',
        f'={model.base_channels} of a dit must divide by 4 and by model.num_heads={model.num_heads}',
    )
    _require_embedding(model, dit.SINUSOIDS)


def _require_embedding(model: NetworkOptions, sinusoids: int) -> None:
    require(
        model.freq_shift < sinusoids // 2,
        'model.freq_shift',
        f'={model.freq_shift} must be below half the number of sinusoids in the timestep embedding, {sinusoids}',
    )


def _require_unet(model: NetworkOptions, image_size: int) -> None:
    levels = len(model.channel_multipliers)
    divisor = 2 ** (levels - 1) * model.patch_size
    require(
        image_size % divisor == 0,
        'data.image_size',
        f'={image_size} does not divide by {divisor}: model.channel_multipliers has {levels} levels and model.patch_size '
        f'is {model.patch_size}',
    )
    _require_embedding(model, model.base_channels)
    side = image_size // model.patch_size
    # The middle of the network, which has the channels of the last level, always has attention.
    levels_with_attention = {*attention_levels(levels, model.attention_resolutions, side), levels - 1}
    heads_field = 'num_heads' if model.attention_head_dim is None else 'attention_head_dim'
    for level, multiplier in enumerate(model.channel_multipliers):
        # The number of heads is the same at every level; a head's channels matter only where there is attention.
        has_rule = heads_field == 'num_heads' or level in levels_with_attention
        fields = ('norm_groups', heads_field) if has_rule else ('norm_groups',)
        _require_divides(model, fields, multiplier)


def _require_divides(model: NetworkOptions, fields: tuple[str, ...], multiplier: int) -> None:
    width = model.base_channels * multiplier
    for field in fields:
        value = getattr(model, field)
        require(
            width % value == 0,
            f'model.{field}',
            f'={value} does not divide a level of {width} channels (model.base_channels={model.base_channels} times '
            f'{multiplier})',
        )


NETWORK_RULES: Mapping[str, Callable[[NetworkOptions, int], None]] = {
    'unet': _require_unet,
    'cnn': _require_cnn,
    'dit': _require_dit,
}
