"""diffusers' description of a scheduler as the fields of ``config.diffusion``, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxgen.errors import UserError, check

# Fields of which jaxgen has this value and no other, in its schedules or in all its samplers.
ONLY = {
    'beta_start': 1e-4,
    'beta_end': 0.02,
    'trained_betas': None,
    'clip_sample': True,
    'clip_sample_range': 1.0,
    'thresholding': False,
    'set_alpha_to_one': True,
}
# What diffusers 0.42 takes for a field that a scheduler_config.json leaves out, where it decides the images.
DEFAULTS = {
    **ONLY,
    'beta_schedule': 'linear',
    'rescale_betas_zero_snr': False,
    'prediction_type': 'epsilon',
    'num_train_timesteps': 1000,
    'variance_type': 'fixed_small',
}
# Ours by theirs: (beta_schedule, rescale_betas_zero_snr). diffusers keeps its betas whatever the timesteps are.
SCHEDULES = {
    ('linear', False): 'linear_betas',
    ('squaredcos_cap_v2', False): 'cosine',
    ('squaredcos_cap_v2', True): 'cosine_zero_snr',
}
AT_1000 = {('linear', False): 'linear', ('linear', True): 'linear_zero_snr'}
PREDICTIONS = {'epsilon': 'eps', 'sample': 'x0', 'v_prediction': 'v'}
SAMPLERS = {'fixed_large': 'ddpm', 'fixed_small': 'ddpm_fixedsmall', 'fixed_small_log': 'ddpm_fixedsmall'}
# diffusers' scheduler for each of our samplers. With fewer steps than timesteps the first has other ones than ours: on
# ours, trailing, diffusers would add noise even in its last step.
EXPORTED = {
    'ddpm': {'_class_name': 'DDPMScheduler', 'variance_type': 'fixed_large', 'timestep_spacing': 'leading'},
    'ddpm_fixedsmall': {'_class_name': 'DDPMScheduler', 'variance_type': 'fixed_small', 'timestep_spacing': 'trailing'},
    'ddim': {'_class_name': 'DDIMScheduler', 'set_alpha_to_one': True, 'timestep_spacing': 'trailing'},
}


def to_diffusion(theirs: Mapping[str, Any], where: object) -> tuple[dict[str, Any], str]:
    """The fields of ``config.diffusion``, and our name of the sampler that diffusers draws with.

    Args:
      theirs: a ``scheduler_config.json``.
      where: the file, for the message.

    Raises:
      UserError: naming the field and the value that jaxgen does not have.
    """
    s = {**DEFAULTS, **theirs}
    kind = s.get('_class_name')
    _only(kind in ('DDPMScheduler', 'DDIMScheduler'), s | {'_class_name': kind}, '_class_name', where)
    for field, ours in ONLY.items():
        _only(s[field] == ours, s, field, where)
    _only(kind == 'DDIMScheduler' or s['variance_type'] in SAMPLERS, s, 'variance_type', where)
    steps = s['num_train_timesteps']
    check(isinstance(steps, int) and steps > 0, f'{where}: num_train_timesteps={steps!r} is not a number of timesteps')
    sampler = 'ddim' if kind == 'DDIMScheduler' else SAMPLERS[s['variance_type']]
    schedule = schedules(steps).get((s['beta_schedule'], s['rescale_betas_zero_snr']))
    _only(schedule is not None, s, 'rescale_betas_zero_snr' if s['rescale_betas_zero_snr'] else 'beta_schedule', where)
    _only(s['prediction_type'] in PREDICTIONS, s, 'prediction_type', where)
    return {'schedule': schedule, 'timesteps': steps, 'parameterisation': PREDICTIONS[s['prediction_type']]}, sampler


def schedules(timesteps: int) -> dict[tuple[str, bool], str]:
    """Our schedules by what diffusers calls them, for a number of timesteps."""
    return SCHEDULES | (AT_1000 if timesteps == 1000 else {})


def from_diffusion(diffusion: ConfigDict, sampler: str) -> dict[str, Any]:
    """The ``scheduler_config.json`` of our schedule and one of our samplers, or DDIM where diffusers lacks it.

    diffusers' DDIM draws our images if called with ``use_clipped_model_output=True``.

    Raises:
      UserError: if diffusers has no such schedule.
    """
    theirs = {ours: name for names in (SCHEDULES, schedules(diffusion.timesteps)) for name, ours in names.items()}
    predictions = {ours: name for name, ours in PREDICTIONS.items()}
    for field, known in (('schedule', theirs), ('parameterisation', predictions), ('variance', ('fixed',))):
        if diffusion[field] not in known:
            raise UserError(
                f'config.diffusion.{field}={diffusion[field]} cannot be exported: for config.diffusion.timesteps='
                f'{diffusion.timesteps} diffusers has {", ".join(known)}'
            )
    beta_schedule, rescaled = theirs[diffusion.schedule]
    of_sampler = EXPORTED.get(sampler, EXPORTED['ddim'])
    shared = {field: value for field, value in ONLY.items() if field != 'set_alpha_to_one'}
    own = {
        'beta_schedule': beta_schedule,
        'rescale_betas_zero_snr': rescaled,
        'prediction_type': predictions[diffusion.parameterisation],
        'num_train_timesteps': diffusion.timesteps,
        'steps_offset': 0,
    }
    return shared | own | of_sampler


def _only(holds: bool, s: Mapping[str, Any], field: str, where: object) -> None:
    if not holds:
        raise UserError(
            f'{where}: {field}={s[field]!r} is not among what jaxgen has; to import the network alone, under '
            f'config.diffusion, pass a folder of nothing but its config.json and its weights'
        )
