"""Translate diffusers' description of a scheduler into fields of ``config.diffusion``, and back."""

from __future__ import annotations

from jaxgen.errors import UserError, check, shown
from jaxgen.methods.diffusion.options import DiffusionOptions
from jaxgen.types import Fields, JsonObject

# Fields with the only value that jaxgen supports, in its schedules or in all of its samplers.
ONLY = {
    'beta_start': 1e-4,
    'beta_end': 0.02,
    'trained_betas': None,
    'clip_sample': True,
    'clip_sample_range': 1.0,
    'thresholding': False,
    'set_alpha_to_one': True,
}
# Defaults in diffusers 0.42 of the fields that determine the images, for a scheduler_config.json that leaves them out.
DEFAULTS = {
    **ONLY,
    'beta_schedule': 'linear',
    'rescale_betas_zero_snr': False,
    'prediction_type': 'epsilon',
    'num_train_timesteps': 1000,
    'variance_type': 'fixed_small',
}
# Our schedules by (beta_schedule, rescale_betas_zero_snr). The betas of diffusers do not depend on the timesteps.
SCHEDULES = {
    ('linear', False): 'linear_betas',
    ('squaredcos_cap_v2', False): 'cosine',
    ('squaredcos_cap_v2', True): 'cosine_zero_snr',
}
AT_1000 = {('linear', False): 'linear', ('linear', True): 'linear_zero_snr'}
PREDICTIONS = {'epsilon': 'eps', 'sample': 'x0', 'v_prediction': 'v'}
SAMPLERS = {'fixed_large': 'ddpm', 'fixed_small': 'ddpm_fixedsmall', 'fixed_small_log': 'ddpm_fixedsmall'}
MAX_TIMESTEPS = 100_000  # largest schedule that is imported: its tables have one row for each timestep
# diffusers' scheduler for each of our samplers. With fewer steps than timesteps, the first visits other timesteps than
# ours: on our timesteps, trailing, diffusers would add noise even in its last step.
EXPORTED: dict[str, JsonObject] = {
    'ddpm': {'_class_name': 'DDPMScheduler', 'variance_type': 'fixed_large', 'timestep_spacing': 'leading'},
    'ddpm_fixedsmall': {'_class_name': 'DDPMScheduler', 'variance_type': 'fixed_small', 'timestep_spacing': 'trailing'},
    'ddim': {'_class_name': 'DDIMScheduler', 'set_alpha_to_one': True, 'timestep_spacing': 'trailing'},
}


def to_diffusion(theirs: Fields, where: object) -> tuple[JsonObject, str]:
    """Translate diffusers' description of a scheduler.

    Args:
      theirs: the contents of a ``scheduler_config.json``.
      where: the file, for the message.

    Returns:
      The fields of ``config.diffusion``, and our name for the sampler that diffusers uses.

    Raises:
      UserError: naming the field and the value that jaxgen does not have.
    """
    s = {**DEFAULTS, **theirs}
    kind = s.get('_class_name')
    _require(kind in ('DDPMScheduler', 'DDIMScheduler'), s | {'_class_name': kind}, '_class_name', where)
    for field, ours in ONLY.items():
        _require(s[field] == ours, s, field, where)
    for field, kinds in (('beta_schedule', str), ('rescale_betas_zero_snr', bool), ('prediction_type', str)):
        _require(isinstance(s[field], kinds), s, field, where)
    variance = s['variance_type']
    is_known = isinstance(variance, str) and variance in SAMPLERS
    _require(kind == 'DDIMScheduler' or is_known, s, 'variance_type', where)
    steps = s['num_train_timesteps']
    check(
        type(steps) is int and 0 < steps <= MAX_TIMESTEPS,
        f'{where}: num_train_timesteps={shown(steps)} is not a number of timesteps, at most {MAX_TIMESTEPS}',
    )
    sampler = 'ddim' if kind == 'DDIMScheduler' else SAMPLERS[variance]
    schedule = schedules(steps).get((s['beta_schedule'], s['rescale_betas_zero_snr']))
    _require(
        schedule is not None, s, 'rescale_betas_zero_snr' if s['rescale_betas_zero_snr'] else 'beta_schedule', where
    )
    _require(s['prediction_type'] in PREDICTIONS, s, 'prediction_type', where)
    return {'schedule': schedule, 'timesteps': steps, 'parameterisation': PREDICTIONS[s['prediction_type']]}, sampler


def schedules(timesteps: int) -> dict[tuple[str, bool], str]:
    """Return our schedules by diffusers' names for them, for a number of timesteps."""
    return SCHEDULES | (AT_1000 if timesteps == 1000 else {})


def from_diffusion(diffusion: DiffusionOptions, sampler: str) -> JsonObject:
    """Return the ``scheduler_config.json`` of our schedule and one of our samplers.

    diffusers' DDIM samples the same images as ours if it is called with ``use_clipped_model_output=True``.

    Args:
      diffusion: the options of the diffusion model.
      sampler: our name of the sampler; a sampler that diffusers lacks is replaced by DDIM.

    Raises:
      UserError: if diffusers has no such schedule.
    """
    theirs = {ours: name for names in (SCHEDULES, schedules(diffusion.timesteps)) for name, ours in names.items()}
    predictions = {ours: name for name, ours in PREDICTIONS.items()}
    for field, known in (('schedule', theirs), ('parameterisation', predictions), ('variance', ('fixed',))):
        value = getattr(diffusion, field)
        if value not in known:
            raise UserError(
                f'config.diffusion.{field}={value} cannot be exported: for config.diffusion.timesteps='
                f'{diffusion.timesteps} diffusers has {", ".join(known)}'
            )
    beta_schedule, rescaled = theirs[diffusion.schedule]
    of_sampler = EXPORTED.get(sampler, EXPORTED['ddim'])
    shared: JsonObject = {field: value for field, value in ONLY.items() if field != 'set_alpha_to_one'}
    own: JsonObject = {
        'beta_schedule': beta_schedule,
        'rescale_betas_zero_snr': rescaled,
        'prediction_type': predictions[diffusion.parameterisation],
        'num_train_timesteps': diffusion.timesteps,
        'steps_offset': 0,
    }
    return shared | own | of_sampler


def _require(holds: bool, s: Fields, field: str, where: object) -> None:
    if not holds:
        raise UserError(
            f'{where}: {field}={shown(s[field])} has no counterpart in jaxgen; to import the network alone, with the schedule of '
            f'config.diffusion, pass a folder that holds only its config.json and its weights'
        )
