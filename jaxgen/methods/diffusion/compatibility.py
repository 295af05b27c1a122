"""Reasons why options of a diffusion model cannot be combined: ``diffusion.compatibility`` with the names of the options."""

from __future__ import annotations

import re

from jaxgen.diffusion import compatibility
from jaxgen.methods.diffusion.options import DiffusionOptions, DiffusionSampleOptions

# The option, as section and name, from which each argument of ``diffusion.compatibility`` comes
OPTIONS = {
    'schedule': 'diffusion.schedule',
    'prediction': 'diffusion.parameterisation',
    'weighting': 'diffusion.weighting',
    'variance': 'diffusion.variance',
    'sampler': 'sample.sampler',
}


def incompatibility_reason(
    diffusion: DiffusionOptions, sample: DiffusionSampleOptions, *, prefix: str = ''
) -> str | None:
    """Return why the options cannot be combined, in a sentence that names them, or None if they can.

    Args:
      diffusion: the section ``diffusion``.
      sample: the section ``sample``.
      prefix: text to put before the name of each section, as in ``config.``.
    """
    reason = compatibility.incompatibility_reason(
        diffusion.schedule, diffusion.parameterisation, diffusion.weighting, diffusion.variance, sample.sampler
    )
    if reason is None:
        return None
    return re.sub(r'\b(\w+)=', lambda argument: f'{prefix}{OPTIONS[argument[1]]}=', reason)
