"""Samplers, which turn noise into images step by step.

Each sampler exists as a function, and as an object in ``SAMPLERS``::

    x = initial_noise(levels, jax.random.normal(key, (16, 32, 32, 3)))
    images = samplers.ddim(denoiser, levels, x)
    images = SAMPLERS['ddim'].with_options(eta=1.0).sample(denoiser, levels, x, key=key)
"""

from jaxgen.diffusion.samplers.ancestral import Ancestral, ancestral
from jaxgen.diffusion.samplers.base import Sampler
from jaxgen.diffusion.samplers.consistency import Consistency, consistency
from jaxgen.diffusion.samplers.ddim import DDIM, ddim
from jaxgen.diffusion.samplers.ddim_inversion import ddim_inversion
from jaxgen.diffusion.samplers.dpmpp_2m import DPMpp2M, dpmpp_2m, dpmpp_2m_sde
from jaxgen.diffusion.samplers.heun import Heun, heun
from jaxgen.diffusion.samplers.mean_flow import MeanFlow, mean_flow
from jaxgen.diffusion.samplers.stochastic_heun import StochasticHeun, stochastic_heun

SAMPLERS: dict[str, Sampler] = {
    'ddpm': Ancestral(),
    'ddpm_fixedsmall': Ancestral(variance='fixedsmall'),
    'ddim': DDIM(),
    'heun': Heun(),
    'edm': StochasticHeun(),
    'dpmpp_2m': DPMpp2M(),
    'dpmpp_2m_sde': DPMpp2M(sde=True),
    'mean_flow': MeanFlow(),
    'consistency': Consistency(),
}

__all__ = [
    'SAMPLERS',
    'Ancestral',
    'Consistency',
    'DDIM',
    'DPMpp2M',
    'Heun',
    'MeanFlow',
    'Sampler',
    'StochasticHeun',
    'ancestral',
    'consistency',
    'ddim',
    'ddim_inversion',
    'dpmpp_2m',
    'dpmpp_2m_sde',
    'heun',
    'mean_flow',
    'stochastic_heun',
]
