"""The fields of a diffusion model in a ConfigDict, the options that they stand for, and what is refused."""

from __future__ import annotations

from ml_collections import ConfigDict

from jaxgen.diffusion import compatibility
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.schedules import SCHEDULES
from jaxgen.errors import UserError, check, names, pick
from jaxgen.methods.config_sections import options_from
from jaxgen.methods.diffusion.compatibility import incompatibility_reason
from jaxgen.methods.diffusion.network_config import check_network
from jaxgen.methods.diffusion.options import (
    DiffusionOptimizerOptions,
    DiffusionOptions,
    DiffusionSampleOptions,
    NetworkOptions,
)
from jaxgen.optim import power_ema


def options_of(
    config: ConfigDict,
) -> tuple[NetworkOptions, DiffusionOptions, DiffusionSampleOptions, DiffusionOptimizerOptions]:
    """Return the options that a whole config stands for, the optimizer's resolved for the length of the run.

    Raises:
      OptionError: if a value is refused.
    """
    return (
        options_from(NetworkOptions, config.model),
        options_from(DiffusionOptions, config.diffusion),
        options_from(DiffusionSampleOptions, config.sample),
        options_from(DiffusionOptimizerOptions, config.optimizer).resolved(config.train.steps),
    )


def fields(c: ConfigDict) -> None:
    """Add the fields of a diffusion model to a config, the values of Ho et al. 2020 for CIFAR-10 in them."""
    c.model = ConfigDict()
    c.model.name = 'unet'  # or cnn, dit: each takes of these fields those that it has
    c.model.conditional = False  # class labels as an input
    c.model.base_channels = 128
    c.model.channel_multipliers = (1, 2, 2, 2)
    c.model.num_res_blocks = 2
    c.model.num_blocks = 8  # of cnn and dit
    c.model.attention_resolutions = (16,)
    c.model.num_heads = 1
    c.model.attention_head_dim = 0  # channels of each head, instead of their number; 0 leaves it to num_heads
    c.model.dropout = 0.1
    c.model.norm_groups = 32
    c.model.norm_eps = 1e-6
    c.model.freq_shift = 1  # this and the next two are the paper's; diffusers' own defaults are 0, True and 1
    c.model.flip_sin_to_cos = False
    c.model.downsample_padding = 0
    c.model.patch_size = 1
    c.model.dtype = 'float32'  # of the computation: float32 or bfloat16

    c.diffusion = ConfigDict()
    c.diffusion.schedule = 'linear'
    c.diffusion.timesteps = 1000  # of the schedules that have some; edm, flow and learned are continuous
    c.diffusion.parameterisation = 'eps'  # what the network predicts; --mode=help lists what goes together
    c.diffusion.weighting = 'simple'
    c.diffusion.variance = 'fixed'  # or learned, by Improved DDPM's hybrid loss
    c.diffusion.label_dropout = 0.0  # share of the examples whose class is withheld, for guidance at sampling

    c.optimizer.warmup_steps = 5000
    c.optimizer.grad_clip_norm = 1.0
    c.optimizer.ema_lengths = ()  # of two averages, as in 0.05,0.1, from which one of any length is made after training
    c.optimizer.ema_snapshot_every = 1000  # steps between those that are kept of them

    c.evaluation.ema_lengths = ()  # of averages to judge one after the other, as in 0,0.05,0.1,0.15; 0 as below
    c.sample.ema_length = 0.0  # of an average made after training, in parts of the run; 0 takes that of ema_decay
    c.sample.sampler = 'ddim'
    c.sample.num_steps = 50
    c.sample.eta = 0.0  # of ddim: 0 is deterministic, 1 adds as much noise as ddpm_fixedsmall
    c.sample.churn = 0.0  # of edm: S_churn
    c.sample.clip = True  # each estimate of the image to [-1, 1]
    c.sample.guidance_scale = 1.0  # classifier-free guidance; 1 is the network's own estimate
    c.sample.guidance_low = 0.0  # guided only while sigma / alpha lies above this
    c.sample.guidance_high = 0.0  # and below this; 0 sets no limit
    c.sample.guidance_rescale = 0.0  # how far the estimate's contrast is brought back to the unguided one's


def check_fields(c: ConfigDict, image_size: int) -> None:
    """Refuses what this family cannot be.

    Raises:
      UserError: one sentence naming the field.
    """
    _check_diffusion(c)
    check_network(c.model, image_size)


def _check_diffusion(c: ConfigDict) -> None:
    d, sample = c.diffusion, c.sample
    pick(d.schedule, SCHEDULES, 'config.diffusion.schedule')
    pick(d.parameterisation, compatibility.ALL_PREDICTIONS, 'config.diffusion.parameterisation')
    pick(d.weighting, compatibility.ALL_WEIGHTINGS, 'config.diffusion.weighting')
    pick(d.variance, compatibility.VARIANCES, 'config.diffusion.variance')
    pick(sample.sampler, SAMPLERS, 'config.sample.sampler')
    reason = incompatibility_reason(d, sample, prefix='config.')
    if reason is not None:
        raise UserError(f'{reason} (--mode=help lists what goes together)')
    if compatibility.is_discrete(d.schedule):
        check(
            sample.num_steps <= d.timesteps,
            f'config.sample.num_steps={sample.num_steps} is more than config.diffusion.timesteps={d.timesteps}',
        )
    check(0 <= d.label_dropout < 1, f'config.diffusion.label_dropout={d.label_dropout} must be at least 0 and below 1')
    check(
        c.model.conditional or not d.label_dropout,
        f'config.diffusion.label_dropout={d.label_dropout} needs a network that knows classes: set '
        f'config.model.conditional=True, or config.diffusion.label_dropout=0 and config.sample.guidance_scale=1',
    )
    check(
        sample.guidance_scale == 1 or d.label_dropout > 0,
        f'config.sample.guidance_scale={sample.guidance_scale} needs a network that was trained with and without '
        f'classes: config.model.conditional=True and config.diffusion.label_dropout=0.1, say; or set it to 1',
    )
    check(
        sample.guidance_scale == 1 or d.parameterisation != compatibility.MEAN_FLOW,
        'config.sample.guidance_scale must be 1: the mean velocity of mean_flow is not guided',
    )
    _check_averages(c)
    for name in ('guidance_scale', 'guidance_low', 'guidance_high', 'eta', 'churn'):
        check(sample[name] >= 0, f'config.sample.{name}={sample[name]} must not be negative')
    for name in ('guidance_rescale', 'eta'):
        check(sample[name] <= 1, f'config.sample.{name}={sample[name]} must lie between 0 and 1')
    check(
        not sample.guidance_high or sample.guidance_low < sample.guidance_high,
        f'config.sample.guidance_low={sample.guidance_low} must be below config.sample.guidance_high='
        f'{sample.guidance_high}, or nothing is guided; a guidance_high of 0 sets no limit',
    )


def _check_averages(c: ConfigDict) -> None:
    lengths = c.optimizer.ema_lengths
    for field, values in (
        ('optimizer.ema_lengths', lengths),
        ('sample.ema_length', (c.sample.ema_length,)),
        ('evaluation.ema_lengths', c.evaluation.ema_lengths),
    ):
        for value in values:
            number = isinstance(value, int | float) and 0 <= value <= power_ema.LONGEST
            within = number and (value > 0 or field != 'optimizer.ema_lengths')
            none = '0' if field == 'sample.ema_length' else '()'
            check(
                within,
                f'config.{field}: {value!r} is no length of an average: choose above 0 and up to {power_ema.LONGEST}, or {none} '
                f'for none',
            )
    check(
        len(set(lengths)) == len(lengths) != 1,
        f'config.optimizer.ema_lengths={lengths} must be empty, or two or more different lengths, as in 0.05,0.1',
    )
    chosen = c.sample.ema_length or any(c.evaluation.ema_lengths)
    check(
        lengths or not chosen,
        'config.sample.ema_length needs the snapshots of a run that was trained with config.optimizer.ema_lengths=0.05,0.1',
    )
    check(c.sample.ema or not chosen, 'config.sample.ema_length needs config.sample.ema=True')
    check(
        'fid' in names(c.evaluation.metrics) or not c.evaluation.ema_lengths,
        f'config.evaluation.metrics={c.evaluation.metrics} must have fid to judge config.evaluation.ema_lengths',
    )
