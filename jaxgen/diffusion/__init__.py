"""The mathematics of diffusion models: arrays and functions in, arrays out.

Sample images in three lines. ``denoiser(x, level)`` estimates x_0; this one is exact for images of standard normal numbers:

>>> import jax
>>> from jaxgen import diffusion
>>> def denoiser(x, level):
...     return level.alpha * x
>>> levels = diffusion.cosine(1000).levels(50)
>>> noise = diffusion.initial_noise(levels, jax.random.normal(jax.random.key(0), (2, 8, 8, 3)))
>>> diffusion.samplers.ddim(denoiser, levels, noise).shape
(2, 8, 8, 3)
"""

from jaxgen.diffusion import (
    augment,
    compatibility,
    editing,
    likelihood,
    losses,
    predictions,
    samplers,
    schedules,
)
from jaxgen.diffusion.guidance import Guidance
from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.samplers.base import initial_noise
from jaxgen.diffusion.schedules import (
    DiscreteSchedule,
    EDMSchedule,
    FlowSchedule,
    cosine,
    linear,
    linear_betas,
    zero_terminal_snr,
)

__all__ = [
    'DiscreteSchedule',
    'EDMSchedule',
    'FlowSchedule',
    'Guidance',
    'Level',
    'augment',
    'compatibility',
    'cosine',
    'editing',
    'initial_noise',
    'likelihood',
    'linear',
    'linear_betas',
    'losses',
    'predictions',
    'samplers',
    'schedules',
    'zero_terminal_snr',
]
