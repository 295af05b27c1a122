"""The mathematics of diffusion models: arrays and functions in, arrays out.

Sample images in three lines, with ``denoiser(x, level)`` for the estimate of x_0::

    schedule = jaxgen.diffusion.cosine(1000)
    levels = schedule.levels(50)
    x0 = jaxgen.diffusion.samplers.ddim(denoiser, levels, noise)
"""

from jaxgen.diffusion import compatibility, editing, likelihood, losses, noise, predictions, samplers, schedules
from jaxgen.diffusion.guidance import Guidance
from jaxgen.diffusion.schedules import EDMSchedule, FlowSchedule, cosine, linear, linear_betas, zero_terminal_snr

__all__ = [
    'EDMSchedule',
    'FlowSchedule',
    'Guidance',
    'compatibility',
    'cosine',
    'editing',
    'likelihood',
    'linear',
    'linear_betas',
    'losses',
    'noise',
    'predictions',
    'samplers',
    'schedules',
    'zero_terminal_snr',
]
