"""The results of a sweep: the outcome of each run, which setting is best, and by how much."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from jaxgen.apps.reports import weak_metrics, words
from jaxgen.apps.sweep.grammar import Setting
from jaxgen.apps.sweep.plan import Plan, Run, SamplerConfig, divergence, result
from jaxgen.io.run_directory import METRICS, SAMPLES, is_finite, points, read_metrics
from jaxgen.types import Fields, JsonObject

FEW_DEVIATIONS = 2  # a margin of fewer standard deviations over seeds may be noise


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a run with one of its samplers.

    Attributes:
      run: the run.
      sampler: the sampler of the setting that this outcome belongs to.
      state: ``finished``, ``diverged``, ``failed``, or ``left`` if the run has not been tried yet.
      reason: why the run diverged or failed; otherwise empty.
      found: the result that ``worker.py`` wrote for a finished run: metrics, their protocol, numbers of parameters.
      log: the rows of the run's ``metrics.jsonl``.
      samples: the path of the PNG file with samples that a finished run has.
    """

    run: Run
    sampler: SamplerConfig
    state: str
    reason: str
    found: JsonObject | None
    log: list[dict[str, float]]
    samples: epath.Path


@dataclasses.dataclass(frozen=True)
class SettingResult:
    """A setting with an outcome for each seed."""

    name: str
    setting: Setting
    outcomes: list[Outcome]

    def values(self, path: str) -> list[float]:
        """Return the finite values of a metric, at most one for each seed.

        Args:
          path: the dotted path of the metric in a result.
        """
        found = []
        for outcome in self.outcomes:
            value: Any = outcome.found
            for part in path.split('.'):
                value = value.get(part) if isinstance(value, dict) else None
            if is_finite(value):
                found.append(value)
        return found

    def losses(self) -> dict[str, list[float]]:
        """Return the last losses by name, one for each finished seed."""
        last = [outcome.log[-1] for outcome in self.outcomes if outcome.found and outcome.log]
        names = [name for name in (last[0] if last else {}) if name.startswith('loss')]
        return {name: [row[name] for row in last if name in row] for name in names}

    def rates(self) -> list[float]:
        """Return the median number of training images per second of each finished seed."""
        rates = [points(outcome.log, 'images_per_sec') for outcome in self.outcomes if outcome.found]
        return [float(np.median([rate for _, rate in of_a_run])) for of_a_run in rates if of_a_run]

    def parameters(self) -> dict[str, int]:
        """Return the number of parameters of each network; empty if no seed has finished."""
        return next((outcome.found['parameters'] for outcome in self.outcomes if outcome.found), {})

    def note(self) -> str:
        """Return the number of runs that have not finished, with reasons; empty if all have finished."""
        states = [outcome.state for outcome in self.outcomes]
        counts = {state: states.count(state) for state in dict.fromkeys(states) if state != 'finished'}
        reasons = dict.fromkeys(outcome.reason for outcome in self.outcomes if outcome.reason)
        known = '; '.join(f'{count} of {len(states)} {state}' for state, count in counts.items())
        return ': '.join(filter(None, [known, '; '.join(reasons)]))


@dataclasses.dataclass(frozen=True)
class Results:
    """The results of a sweep; ``settings`` has the order of the plan."""

    plan: Plan
    settings: list[SettingResult]

    @property
    def metric(self) -> str:
        """The metric that decides which setting is best."""
        return self.plan.config.sweep.metric

    @property
    def weak(self) -> dict[str, str]:
        """Why metrics say little, by their paths."""
        return weak_metrics.reasons(outcome.found for s in self.settings for outcome in s.outcomes if outcome.found)

    @property
    def failed(self) -> list[Outcome]:
        """The failed outcomes, which the next sweep tries again."""
        return [outcome for setting in self.settings for outcome in setting.outcomes if outcome.state == 'failed']

    @property
    def protocol(self) -> Fields:
        """The protocol of the first finished run; all runs share its features. Empty if no run has finished."""
        found = (outcome.found for setting in self.settings for outcome in setting.outcomes)
        return next((result['protocol'] for result in found if result), {})


def collect(plan: Plan, folder: epath.Path, failures: Mapping[str, str]) -> Results:
    """Return the results in the run directories.

    Args:
      plan: the plan of the sweep.
      folder: the folder of the sweep.
      failures: why runs failed, by the names of their run directories.
    """
    found = []
    for planned in plan.settings:
        outcomes = [_outcome(run, sampler, folder, failures) for run, sampler in planned.runs]
        found.append(SettingResult(planned.name, planned.setting, outcomes))
    return Results(plan, found)


def _outcome(run: Run, sampler: SamplerConfig, folder: epath.Path, failures: Mapping[str, str]) -> Outcome:
    workdir = folder / run.folder
    log, samples = read_metrics(workdir / METRICS), workdir / SAMPLES / f'sweep-{sampler.stem}.png'
    diverged = divergence(run, folder)
    if diverged is not None:
        return Outcome(run, sampler, 'diverged', diverged, None, log, samples)
    found = result(run, sampler, folder)
    reason = failures.get(run.folder, '')
    if found is not None:
        return Outcome(run, sampler, 'finished', reason, found, log, samples)
    state = 'failed' if run.folder in failures else 'left'
    return Outcome(run, sampler, state, reason, None, log, samples)


def ranked(results: Results) -> list[SettingResult]:
    """Return the settings that have the deciding metric for every seed, the best first."""
    complete = [setting for setting in results.settings if len(setting.values(results.metric)) == len(setting.outcomes)]
    sign = 1 if words.lower_is_better(results.metric) else -1
    return sorted(complete, key=lambda setting: sign * np.mean(setting.values(results.metric)))


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation of values; the deviation of a single value is None."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def verdict(results: Results) -> str:
    """Return a sentence or two on which setting won, by what margin, and how much seeds differ."""
    order, metric = ranked(results), results.metric
    title = words.title(metric, results.protocol)
    if not order:
        return f'Nothing won: no setting has {title} with every seed.'
    best = order[0].values(metric)
    mean, deviation = mean_and_deviation(best)
    own = f'{title} {_with_deviation(mean, deviation)}'
    if len(order) == 1:
        return f'{order[0].name}: {own}. No other setting has it with every seed.'
    second = order[1].values(metric)
    other, other_deviation = mean_and_deviation(second)
    margin = abs(other - mean)
    share = f' ({margin / abs(other):.1%})' if other else ''
    text = (
        f'{order[0].name} won: {own}. The second, {order[1].name}, has {_with_deviation(other, other_deviation)}: '
        f'a margin of {margin:.2g}{share}'
    )
    if deviation is None or other_deviation is None:
        return f'{text}. One seed: the margin may be noise.'
    sign = 1 if words.lower_is_better(metric) else -1
    wins = sum(sign * (b - a) > 0 for a, b in zip(best, second, strict=True))
    ahead = f'it is ahead with {wins} of {len(best)} seeds'
    pooled = math.sqrt((deviation**2 + other_deviation**2) / 2)
    if not pooled:
        return f'{text}; {ahead}, which do not differ among themselves.'
    noise = '' if margin >= FEW_DEVIATIONS * pooled else ' Within so few deviations it may be noise: run more seeds.'
    return f'{text}, or {margin / pooled:.1f} standard deviations over the {len(best)} seeds; {ahead}.{noise}'


def _with_deviation(mean: float, deviation: float | None) -> str:
    return f'{mean:.4g}' + ('' if deviation is None else f' ± {deviation:.2g}')


def as_json(results: Results) -> JsonObject:
    """Return the content of ``results.json``."""
    sweep = results.plan.config.sweep
    return {
        'sweep': sweep.settings,
        'figure': results.metric,
        'images': sweep.images,
        'verdict': verdict(results),
        'settings': [_setting_json(setting, results.metric) for setting in results.settings],
    }


def _setting_json(setting: SettingResult, metric: str) -> JsonObject:
    values = setting.values(metric)
    mean, deviation = mean_and_deviation(values) if values else (None, None)
    return {
        'name': setting.name,
        'setting': setting.setting,
        'mean': mean,
        'deviation': deviation,
        'parameters': setting.parameters(),
        'runs': [
            {
                'workdir': outcome.run.folder,
                'seed': outcome.run.seed,
                'state': outcome.state,
                'why': outcome.reason,
                'steps': outcome.sampler.config.train.steps,
                'figures': _metrics(outcome.found or {}),
                'log': outcome.log[-1] if outcome.log else {},
            }
            for outcome in setting.outcomes
        ],
    }


def _metrics(found: Fields) -> JsonObject:
    """Return all numbers of a result; the run directory of the run has the other values and the protocol."""
    of_classifier = {f'judge.{name}': value for name, value in found.get('judge', {}).items()}
    return {name: value for name, value in {**found, **of_classifier}.items() if isinstance(value, int | float)}
