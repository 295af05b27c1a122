"""The options of a diffusion model: the sections ``model``, ``diffusion``, ``optimizer`` and ``sample``."""

from __future__ import annotations

import dataclasses

from jaxgen.diffusion import compatibility
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.schedules import SCHEDULES
from jaxgen.methods.diffusion.objective import ConsistencyStages
from jaxgen.methods.options import DTYPES, SampleOptions
from jaxgen.models.networks import NETWORKS
from jaxgen.optim.options import OptimizerOptions
from jaxgen.optim.power_ema import LONGEST
from jaxgen.schema import Options, option, require, with_default

GUIDE_FIELDS = ('guide', 'guide_step', 'guide_ema_length')  # the options of sampling that name a guide


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkOptions(Options):
    """The network, with the values of Ho et al. 2020 for CIFAR-10; each kind of network reads only the fields it needs."""

    name: str = option('unet', 'kind of network', choices=lambda: NETWORKS)
    conditional: bool = option(False, 'give the class label to the network as an input')
    base_channels: int = option(128, 'channels of the first level; an even number', at_least=4, at_most=8192)
    channel_multipliers: tuple[int, ...] = option(
        (1, 2, 2, 2), 'channels of each level of the UNet, in multiples of base_channels', at_least=1, at_most=64
    )
    num_res_blocks: int = option(2, 'residual blocks of each level of the UNet', at_least=1, at_most=100)
    num_blocks: int = option(8, 'number of blocks of the cnn and of the dit', at_least=1, at_most=1000)
    attention_resolutions: tuple[int, ...] = option(
        (16,),
        'sides of the feature maps on which the UNet has attention, in pixels',
        at_least=1,
        at_most=8192,
        empty=True,
    )
    num_heads: int = option(1, 'number of attention heads', at_least=1, at_most=8192)
    attention_head_dim: int | None = option(
        None,
        'channels of each attention head; the number of heads is the channels of the layer divided by it; num_heads is used if '
        'not set',
        at_least=1,
        at_most=8192,
    )
    dropout: float = option(0.1, 'share of the activations that is set to 0 in training', at_least=0, below=1)
    norm_groups: int = option(32, 'number of groups in each group normalisation', at_least=1, at_most=8192)
    norm_eps: float = option(1e-6, 'number added to the variance before normalising', above=0, at_most=1)
    freq_shift: int = option(
        1,
        'shift of the frequencies of the timestep embedding: 1 in the paper, 0 by default in diffusers',
        at_least=0,
        at_most=16,
    )
    flip_sin_to_cos: bool = option(
        False, 'put the cosines of the timestep embedding first: False in the paper, True by default in diffusers'
    )
    downsample_padding: int = option(
        0, 'padding of the UNet before downsampling: 0 in the paper, 1 by default in diffusers', at_least=0, at_most=1
    )
    patch_size: int = option(
        1, 'side in pixels of the patches that the network sees as one position', at_least=1, at_most=8192
    )
    pixel_channels: int | None = option(
        None,
        'channels of the convolutions on single pixels with which a UNet on patches begins and ends; no such convolutions if not '
        'set',
        at_least=1,
        at_most=8192,
    )
    dtype: str = option('float32', 'precision of the computation; parameters are float32', choices=DTYPES)

    def check(self) -> None:
        """Refuse values that do not go together."""
        require(self.base_channels % 2 == 0, 'base_channels', f'={self.base_channels} must be even')


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusionOptions(Options):
    """The noise, the target of the network and the loss."""

    schedule: str = option('linear', 'noise schedule', choices=lambda: SCHEDULES)
    timesteps: int = option(
        1000, 'number of timesteps; edm, flow and learned are continuous and have none', at_least=1, at_most=1_000_000
    )
    parameterisation: str = option('eps', 'what the network predicts', choices=lambda: compatibility.ALL_PREDICTIONS)
    weighting: str = option('simple', 'weight of the loss at each noise level', choices=compatibility.all_weightings)
    variance: str = option(
        'fixed',
        'variance of the reverse process; learned trains it with the hybrid loss of Improved DDPM',
        choices=lambda: compatibility.VARIANCES,
    )
    label_dropout: float = option(
        0.0,
        'share of the training images whose label is withheld, as classifier-free guidance needs',
        at_least=0,
        below=1,
    )
    augment: float | None = option(
        None,
        'probability of each geometric augmentation of Karras et al. 2022; the network takes them as an input, so that they do '
        'not appear in samples; 0.12 in the paper, no augmentation if not set',
        at_least=0,
        at_most=1,
    )
    consistency_q: float = option(
        2.0,
        'with parameterisation=consistency, factor by which each stage divides the distance between the two noise levels of the '
        'loss',
        above=1,
        at_most=1e6,
    )
    consistency_stage_steps: int | None = option(
        None,
        'training steps in a stage of consistency tuning; the last stage, the largest with consistency_q ** stage <= 256 or the '
        'first, lasts to the end of the run; an eighth of train.steps if not set',
        at_least=1,
    )

    def resolved(self, steps: int) -> DiffusionOptions:
        """Return the options for a run of ``steps`` steps, with the steps of a stage filled in if they are not set."""
        if self.consistency_stage_steps is not None:
            return self
        return dataclasses.replace(self, consistency_stage_steps=max(1, -(-steps // 8)))

    @property
    def has_stages(self) -> bool:
        """Whether training goes through the stages of consistency tuning."""
        return self.parameterisation == compatibility.CONSISTENCY

    @property
    def stages(self) -> ConsistencyStages | None:
        """The stages of consistency tuning; None for other parameterisations, and for options that are not resolved."""
        if not self.has_stages or self.consistency_stage_steps is None:
            return None
        return ConsistencyStages(self.consistency_stage_steps, self.consistency_q)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusionOptimizerOptions(OptimizerOptions):
    """The optimizer of Ho et al. 2020 for CIFAR-10, and snapshots for post-hoc EMA (Karras et al. 2024)."""

    warmup_steps: int = with_default(OptimizerOptions, 'warmup_steps', 5000)
    grad_clip_norm: float | None = with_default(OptimizerOptions, 'grad_clip_norm', 1.0)
    ema_lengths: tuple[float, ...] | None = option(
        None,
        'lengths (sigma_rel) of two or more averages for post-hoc EMA, as shares of the run, as in 0.05,0.1; from them an '
        'average of any length can be made after training; none if not set',
        above=0,
        at_most=LONGEST,
    )
    ema_snapshot_every: int = option(1000, 'steps between two snapshots of the averages of ema_lengths', at_least=1)

    def check(self) -> None:
        """Refuse values that do not go together."""
        super().check()
        if self.ema_lengths is not None:
            require(
                len(set(self.ema_lengths)) == len(self.ema_lengths) > 1,
                'ema_lengths',
                f'={",".join(map(str, self.ema_lengths))} must be two or more different lengths, as in 0.05,0.1',
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusionSampleOptions(SampleOptions):
    """The sampler, its noise and its guidance."""

    ema_length: float | None = option(
        None,
        'length of an average made after training, as a share of the run; the average of optimizer.ema_decay if not set',
        above=0,
        at_most=LONGEST,
    )
    sampler: str = option('ddim', 'sampling algorithm', choices=lambda: SAMPLERS)
    num_steps: int = option(50, 'steps from noise to image', at_least=1, at_most=1_000_000)
    eta: float = option(
        0.0, 'noise of ddim: 0 is deterministic, 1 adds as much as ddpm_fixedsmall', at_least=0, at_most=1
    )
    churn: float = option(0.0, 'noise of the sampler edm (S_churn): 0 is deterministic', at_least=0, at_most=1e6)
    clip: bool = option(True, 'clip each estimate of the image to [-1, 1]')
    guidance_scale: float = option(
        1.0, "scale of classifier-free guidance: 1 is the network's own estimate", at_least=0, at_most=1000
    )
    guidance_low: float = option(0.0, 'guide only at noise levels sigma / alpha above this', at_least=0, at_most=1e6)
    guidance_high: float | None = option(
        None, 'guide only at noise levels sigma / alpha below this; no limit if not set', above=0, at_most=1e6
    )
    guidance_rescale: float = option(
        0.0,
        'how far the contrast of a guided estimate is brought back to the contrast of the unguided one',
        at_least=0,
        at_most=1,
    )

    guide: str | None = option(
        None,
        'run directory of a worse model that guides this one (autoguidance); if not set, this run itself is the guide if '
        'guide_step or guide_ema_length is set, and otherwise there is no guide',
        path=True,
    )
    guide_step: int | None = option(
        None,
        "step of the guide's checkpoint, or of its snapshot if guide_ema_length is set; the newest if not set",
        at_least=1,
    )
    guide_ema_length: float | None = option(
        None,
        "length of the guide's average, made from its snapshots like ema_length; the average of optimizer.ema_decay if not "
        'set',
        above=0,
        at_most=LONGEST,
    )
    guide_scale: float | None = option(
        None, 'scale of autoguidance: 1 is the estimate without the guide; 2 if not set', at_least=0, at_most=1000
    )

    @property
    def has_guide(self) -> bool:
        """Whether a worse model guides this one."""
        return any(getattr(self, name) is not None for name in GUIDE_FIELDS)

    def check(self) -> None:
        """Refuse values that do not go together."""
        super().check()
        require(
            self.guide_scale is None or self.has_guide,
            'guide_scale',
            f'={self.guide_scale} needs a guide: name a worse model in guide, or an earlier step of this one in guide_step',
        )
        require(
            self.guidance_high is None or self.guidance_low < self.guidance_high,
            'guidance_low',
            f'={self.guidance_low} must be below guidance_high={self.guidance_high}, or nothing is guided',
        )
        require(self.ema or self.ema_length is None, 'ema_length', f'={self.ema_length} needs ema=True')
