"""The combinations of schedule, prediction, weighting, variance and sampler that work, and why the others do not."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from jaxgen.diffusion.losses import WEIGHTINGS
from jaxgen.diffusion.predictions import PREDICTIONS
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.schedules import SCHEDULES, DiscreteSchedule, LearnedSchedule

MEAN_FLOW, CONSISTENCY = 'mean_flow', 'consistency'
FEW_STEP = (MEAN_FLOW, CONSISTENCY)  # predictions with a loss and a sampler of their own, which has the same name
ALL_PREDICTIONS = (*PREDICTIONS, *FEW_STEP)
VARIANCES = ('fixed', 'learned')


def all_weightings() -> tuple[str, ...]:
    """Return the names of all weightings: ``WEIGHTINGS``, to which users may add, and ``elbo``, the variational bound."""
    return *WEIGHTINGS, 'elbo'


class Combination(NamedTuple):
    """A choice of the parts of a diffusion model, each by its name."""

    schedule: str
    prediction: str
    weighting: str
    variance: str
    sampler: str


def incompatibility_reason(
    schedule: str,
    prediction: str,
    weighting: str = 'simple',
    variance: str = 'fixed',
    sampler: str | None = None,
) -> str | None:
    """Return why these parts cannot be combined, in a sentence that names the arguments, or None if they can.

    Args:
      schedule: one of ``SCHEDULES``.
      prediction: one of ``ALL_PREDICTIONS``.
      weighting: one of ``all_weightings()``.
      variance: one of ``VARIANCES``.
      sampler: one of ``SAMPLERS``; None checks the other parts only.
    """
    return (
        _prediction_reason(schedule, prediction)
        or _weighting_reason(schedule, prediction, weighting)
        or _variance_reason(schedule, prediction, weighting, variance)
        or _sampler_reason(schedule, prediction, sampler)
    )


def is_compatible(
    schedule: str,
    prediction: str,
    weighting: str = 'simple',
    variance: str = 'fixed',
    sampler: str | None = None,
) -> bool:
    """Return whether these parts can be combined; see ``incompatibility_reason``."""
    return incompatibility_reason(schedule, prediction, weighting, variance, sampler) is None


def is_discrete(schedule: str) -> bool:
    """Return whether a schedule has discrete timesteps."""
    return isinstance(SCHEDULES[schedule](10), DiscreteSchedule)


def ends_without_signal(schedule: str) -> bool:
    """Return whether the noisiest level of a schedule is pure noise."""
    made = SCHEDULES[schedule](10)
    return not isinstance(made, LearnedSchedule) and bool(made.levels(1).alpha[0] == 0)


def _prediction_reason(schedule: str, prediction: str) -> str | None:
    if prediction == 'eps' and ends_without_signal(schedule):
        return (
            f'prediction=eps does not determine x_0 at the end of schedule={schedule}, where no signal is left: choose '
            f'{"flow" if schedule == "flow" else "v"}'
        )
    if prediction in ('flow', MEAN_FLOW) and schedule != 'flow':
        return f'prediction={prediction} needs alpha + sigma = 1, which only schedule=flow has'
    if prediction == CONSISTENCY and schedule != 'edm':
        return 'prediction=consistency starts from a model that was trained with schedule=edm: choose edm'
    if prediction == 'v' and schedule in ('edm', 'flow'):
        return f'prediction=v needs alpha^2 + sigma^2 = 1, which schedule={schedule} does not have: choose {schedule}'
    if prediction in ('eps', 'x0') and schedule == 'edm':
        return (
            f'prediction={prediction} does not scale the input of the network, which grows to 80 with schedule=edm: choose '
            f'edm'
        )
    return None


def _weighting_reason(schedule: str, prediction: str, weighting: str) -> str | None:
    if prediction in FEW_STEP and weighting != 'simple':
        return f'weighting={weighting} does not go with prediction={prediction}, whose own loss is called simple'
    if weighting == 'min_snr' and is_discrete(schedule) and ends_without_signal(schedule):
        return (
            f'weighting=min_snr gives no weight to the last timestep of schedule={schedule}, where a sampler begins: '
            f'choose simple'
        )
    if weighting == 'elbo' and schedule in ('edm', 'flow'):
        return f'weighting=elbo is not bounded near the image with schedule={schedule}: choose simple'
    if schedule == 'learned' and weighting != 'elbo':
        return 'schedule=learned is trained by the bound itself: choose weighting=elbo'
    return None


def _variance_reason(schedule: str, prediction: str, weighting: str, variance: str) -> str | None:
    has_hybrid_loss = is_discrete(schedule) and prediction not in FEW_STEP and weighting == 'simple'
    if variance == 'learned' and not has_hybrid_loss:
        return (
            'variance=learned is trained by the hybrid loss of Improved DDPM, which needs a schedule with timesteps and '
            'weighting=simple'
        )
    return None


def _sampler_reason(schedule: str, prediction: str, sampler: str | None) -> str | None:
    if sampler is None:
        return None
    for name, what in ((MEAN_FLOW, 'a mean velocity'), (CONSISTENCY, 'a consistency function')):
        if (sampler == name) != (prediction == name):
            other = 'another sampler' if sampler == name else name
            return (
                f'sampler={sampler} does not go with prediction={prediction}: {what} is sampled by {name} only, and {name} '
                f'samples nothing else: choose {other}'
            )
    if sampler == 'edm' and schedule == 'learned':
        return 'sampler=edm adds noise up to levels that schedule=learned does not know in advance: choose heun'
    return None


def compatible_combinations(schedule: str | None = None, sampler: str | None = None) -> list[Combination]:
    """Return all combinations that work, or only those with the given schedule or sampler."""
    everything = itertools.product(
        [schedule] if schedule else SCHEDULES,
        ALL_PREDICTIONS,
        all_weightings(),
        VARIANCES,
        [sampler] if sampler else SAMPLERS,
    )
    return [Combination(*choice) for choice in everything if is_compatible(*choice)]


def table(headers: tuple[str, str, str, str] = ('schedule', 'prediction', 'weighting', 'sampler')) -> str:
    """Return a text table of the weightings and samplers that go with each schedule and prediction."""
    rows: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for schedule, prediction, weighting, variance, sampler in compatible_combinations():
        weightings, samplers = rows.setdefault((schedule, prediction), ([], []))
        name = weighting if variance == 'fixed' else f'{weighting} with variance={variance}'
        if name not in weightings:
            weightings.append(name)
        if sampler not in samplers:
            samplers.append(sampler)
    cells = [headers]
    cells += [(*key, ', '.join(weightings), ', '.join(samplers)) for key, (weightings, samplers) in rows.items()]
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    lines = ['  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return '\n'.join(line.rstrip() for line in lines)
