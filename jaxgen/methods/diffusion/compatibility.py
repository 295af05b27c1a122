"""Whether the options of a diffusion model go together: ``diffusion.compatibility`` in the names of the options."""

from __future__ import annotations

import re

from jaxgen.diffusion import compatibility
from jaxgen.methods.diffusion.options import DiffusionOptions, DiffusionSampleOptions

# The option that each argument of ``diffusion.compatibility`` comes from, by section and name
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
      prefix: what stands before the name of each section, as in ``config.``.
    """
    reason = compatibility.incompatibility_reason(
        diffusion.schedule, diffusion.parameterisation, diffusion.weighting, diffusion.variance, sample.sampler
    )
    if reason is None:
        return None
    return re.sub(r'\b(\w+)=', lambda argument: f'{prefix}{OPTIONS[argument[1]]}=', reason)
