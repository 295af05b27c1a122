"""The mathematics of diffusion models: arrays and functions in, arrays out.

Sample images in three lines, with ``denoiser(x, level)`` for the estimate of x_0::

    schedule = jaxgen.diffusion.cosine(1000)
    levels = schedule.levels(50)
    x0 = jaxgen.diffusion.samplers.ddim(denoiser, levels, noise)
"""

from jaxgen.diffusion import compatibility, editing, likelihood, losses, predictions, samplers
from jaxgen.diffusion.guidance import Guidance
from jaxgen.diffusion.losses import add_noise, prediction_loss
from jaxgen.diffusion.noise import initial_noise, step_noise
from jaxgen.diffusion.predictions import PREDICTIONS, Prediction, estimate_x0
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.schedules import (
    SCHEDULES,
    DiscreteSchedule,
    EDMSchedule,
    FlowSchedule,
    LearnedSchedule,
    Level,
    cosine,
    linear,
    linear_betas,
    zero_terminal_snr,
)

__all__ = [
    'PREDICTIONS',
    'SAMPLERS',
    'SCHEDULES',
    'DiscreteSchedule',
    'EDMSchedule',
    'FlowSchedule',
    'Guidance',
    'LearnedSchedule',
    'Level',
    'Prediction',
    'add_noise',
    'compatibility',
    'cosine',
    'editing',
    'estimate_x0',
    'initial_noise',
    'likelihood',
    'linear',
    'linear_betas',
    'losses',
    'prediction_loss',
    'predictions',
    'samplers',
    'step_noise',
    'zero_terminal_snr',
]
