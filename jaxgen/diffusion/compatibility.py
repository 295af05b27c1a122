"""Which schedule goes with which parameterisation, weighting, variance and sampler: one table, and the reasons."""

from __future__ import annotations

import itertools

from jaxgen.diffusion.losses import WEIGHTINGS
from jaxgen.diffusion.predictions import PARAMETERISATIONS
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.schedules import SCHEDULES, Discrete, Learned

MEAN_FLOW = 'mean_flow'
ALL_PARAMETERISATIONS = (*PARAMETERISATIONS, MEAN_FLOW)
ALL_WEIGHTINGS = (*WEIGHTINGS, 'elbo')
VARIANCES = ('fixed', 'learned')


def refusal(
    schedule: str,
    parameterisation: str,
    weighting: str = 'simple',
    variance: str = 'fixed',
    sampler: str | None = None,
) -> str | None:
    """Why these cannot be together, naming the fields of ``config.diffusion`` and ``config.sample``; None if they can."""
    reason = _of_parameterisation(schedule, parameterisation) or _of_weighting(schedule, parameterisation, weighting)
    if reason:
        return reason
    if variance == 'learned' and not (
        is_discrete(schedule) and parameterisation != MEAN_FLOW and weighting == 'simple'
    ):
        return (
            'config.diffusion.variance=learned is the hybrid loss of Improved DDPM: it takes a schedule of timesteps and '
            'weighting=simple'
        )
    if sampler and (sampler == MEAN_FLOW) != (parameterisation == MEAN_FLOW):
        return (
            f'config.sample.sampler={sampler} and config.diffusion.parameterisation={parameterisation}: a mean velocity is '
            f'drawn by mean_flow alone, and nothing else is: take {"another" if sampler == MEAN_FLOW else MEAN_FLOW}'
        )
    if sampler == 'edm' and schedule == 'learned':
        return 'config.sample.sampler=edm adds noise up to levels known beforehand, which schedule=learned has not: take heun'
    return None


def is_discrete(schedule: str) -> bool:
    """Whether it has timesteps."""
    return isinstance(SCHEDULES[schedule](10), Discrete)


def ends_without_signal(schedule: str) -> bool:
    """Whether nothing of the image is left at its noisiest level."""
    made = SCHEDULES[schedule](10)
    return not isinstance(made, Learned) and made.levels(1).alpha[0] == 0


def _of_parameterisation(schedule: str, parameterisation: str) -> str | None:
    if parameterisation == 'eps' and ends_without_signal(schedule):
        return (
            f'config.diffusion.parameterisation=eps says nothing of x_0 at the end of schedule={schedule}, where no signal is '
            f'left: take {"flow" if schedule == "flow" else "v"}'
        )
    if parameterisation in ('flow', MEAN_FLOW) and schedule != 'flow':
        return f'config.diffusion.parameterisation={parameterisation} presumes alpha + sigma = 1, which schedule=flow alone has'
    if parameterisation == 'v' and schedule in ('edm', 'flow'):
        return (
            f'config.diffusion.parameterisation=v presumes alpha^2 + sigma^2 = 1, which schedule={schedule} has not: take '
            f'{schedule}'
        )
    if parameterisation in ('eps', 'x0') and schedule == 'edm':
        return (
            f'config.diffusion.parameterisation={parameterisation} leaves the input as it is, and under schedule=edm it grows '
            f'to 80: take edm'
        )
    return None


def _of_weighting(schedule: str, parameterisation: str, weighting: str) -> str | None:
    if parameterisation == MEAN_FLOW and weighting != 'simple':
        return f'config.diffusion.weighting={weighting}: mean_flow has a loss of its own, which is called simple here'
    if weighting == 'min_snr' and is_discrete(schedule) and ends_without_signal(schedule):
        return f'config.diffusion.weighting=min_snr leaves out the last timestep of schedule={schedule}, where a sampler begins'
    if weighting == 'elbo' and schedule in ('edm', 'flow'):
        return f'config.diffusion.weighting=elbo is not bounded near the image under schedule={schedule}'
    if schedule == 'learned' and weighting != 'elbo':
        return 'config.diffusion.schedule=learned learns by the bound itself: take weighting=elbo'
    return None


def fitting(schedule: str | None = None, sampler: str | None = None) -> list[tuple[str, str, str, str, str]]:
    """All ``(schedule, parameterisation, weighting, variance, sampler)`` that go together, of one schedule or sampler."""
    everything = itertools.product(
        [schedule] if schedule else SCHEDULES,
        ALL_PARAMETERISATIONS,
        ALL_WEIGHTINGS,
        VARIANCES,
        [sampler] if sampler else SAMPLERS,
    )
    return [choice for choice in everything if not refusal(*choice)]


def table() -> str:
    """For people: each schedule and parameterisation with the weightings and the samplers that they take."""
    rows = {('schedule', 'parameterisation'): (['weighting'], ['sampler'])}
    for schedule, parameterisation, weighting, variance, sampler in fitting():
        weightings, samplers = rows.setdefault((schedule, parameterisation), ([], []))
        name = weighting if variance == 'fixed' else f'{weighting} with variance={variance}'
        weightings += [name] * (name not in weightings)
        samplers += [sampler] * (sampler not in samplers)
    cells = [(*key, ', '.join(weightings), ', '.join(samplers)) for key, (weightings, samplers) in rows.items()]
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    return '\n'.join('  '.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells)
