"""What the runs of a sweep have come to, and which setting is best by how much."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from jaxgen.apps.sweep.grammar import Setting
from jaxgen.apps.sweep.plan import LOWER_IS_BETTER, Drawing, Plan, Run, divergence, result
from jaxgen.training.log import read_metrics

FEW_DEVIATIONS = 2  # of the seeds, below which a margin may be noise


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of one run, as one setting sees it.

    Attributes:
      state: ``finished``, ``diverged``, ``failed`` or ``left``, to be done.
      why: of one that diverged or failed.
      found: of ``worker.py``: figures, protocol, parameters; of a finished run.
      log: the rows of its ``metrics.jsonl``.
      samples: the path of a PNG; of a finished run.
    """

    run: Run
    drawing: Drawing
    state: str
    why: str
    found: dict[str, Any] | None
    log: list[dict[str, float]]
    samples: epath.Path


@dataclasses.dataclass(frozen=True)
class Row:
    """A setting, with an outcome for each seed."""

    name: str
    setting: Setting
    outcomes: list[Outcome]

    def values(self, path: str) -> list[float]:
        """A figure by its dotted path, one for each seed that has it and has it finite."""
        found = []
        for outcome in self.outcomes:
            value: Any = outcome.found
            for part in path.split('.'):
                value = value.get(part) if isinstance(value, dict) else None
            if value is not None and math.isfinite(value):
                found.append(value)
        return found

    def losses(self) -> dict[str, list[float]]:
        """The last losses of each network that has one, one for each seed that finished."""
        last = [outcome.log[-1] for outcome in self.outcomes if outcome.found and outcome.log]
        return {name: [row[name] for row in last] for name in (last[0] if last else {}) if name.startswith('loss')}

    def rates(self) -> list[float]:
        """The median of the images that each seed's training took a second."""
        rates = [[row['images_per_sec'] for row in outcome.log] for outcome in self.outcomes if outcome.found]
        return [float(np.median(of_a_run)) for of_a_run in rates if of_a_run]

    def parameters(self) -> dict[str, int]:
        """Of each network; empty where no seed has finished."""
        return next((outcome.found['parameters'] for outcome in self.outcomes if outcome.found), {})

    def note(self) -> str:
        """How many of the runs have not finished, and why; empty where all have."""
        states = [outcome.state for outcome in self.outcomes]
        counts = {state: states.count(state) for state in dict.fromkeys(states) if state != 'finished'}
        whys = dict.fromkeys(outcome.why for outcome in self.outcomes if outcome.why)
        known = '; '.join(f'{count} of {len(states)} {state}' for state, count in counts.items())
        return ': '.join(filter(None, [known, '; '.join(whys)]))


@dataclasses.dataclass(frozen=True)
class Results:
    """Of a sweep; ``rows`` are in the order of its settings."""

    plan: Plan
    rows: list[Row]

    @property
    def figure(self) -> str:
        return self.plan.config.sweeps.figure

    @property
    def failed(self) -> list[Outcome]:
        """Those that the next sweep tries again."""
        return [outcome for row in self.rows for outcome in row.outcomes if outcome.state == 'failed']


def collect(plan: Plan, folder: epath.Path, failures: Mapping[str, str]) -> Results:
    """Reads what is in the workdirs of the runs.

    Args:
      failures: why runs failed, by the names of their workdirs.
    """
    return Results(
        plan,
        [Row(row.name, row.setting, [_outcome(*pair, folder, failures) for pair in row.runs]) for row in plan.rows],
    )


def _outcome(run: Run, drawing: Drawing, folder: epath.Path, failures: Mapping[str, str]) -> Outcome:
    workdir = folder / run.folder
    log, samples = read_metrics(workdir / 'metrics.jsonl'), workdir / 'samples' / f'sweep-{drawing.stem}.png'
    why = divergence(run, folder)
    found = None if why else result(run, drawing, folder)
    state = 'diverged' if why else 'finished' if found else 'failed' if run.folder in failures else 'left'
    return Outcome(run, drawing, state, why or failures.get(run.folder, ''), found, log, samples)


def ranked(results: Results) -> list[Row]:
    """The settings of which every seed has the deciding figure, the best first."""
    whole = [row for row in results.rows if len(row.values(results.figure)) == len(row.outcomes)]
    sign = 1 if results.figure in LOWER_IS_BETTER else -1
    return sorted(whole, key=lambda row: sign * np.mean(row.values(results.figure)))


def mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The mean, and the standard deviation of the population that the values are drawn from: None without enough of them."""
    return (
        float(np.mean(values)) if values else None,
        float(np.std(values, ddof=1)) if len(values) > 1 else None,
    )


def verdict(results: Results) -> str:
    """What won, by how much over the second, and how much seeds differ: a sentence or two."""
    order, figure = ranked(results), results.figure
    if not order:
        return f'Nothing won: no setting has {figure} with every seed.'
    best = order[0].values(figure)
    mean, deviation = mean_and_deviation(best)
    own = f'{figure} {mean:.4g}' + ('' if deviation is None else f' ± {deviation:.2g}')
    if len(order) == 1:
        return f'{order[0].name}: {own}. No other setting has it with every seed.'
    second = order[1].values(figure)
    other, other_deviation = mean_and_deviation(second)
    margin = abs(other - mean)
    share = f' ({margin / abs(other):.1%})' if other else ''
    theirs = f'{other:.4g}' + ('' if other_deviation is None else f' ± {other_deviation:.2g}')
    text = f'{order[0].name} won: {own}. The second, {order[1].name}, has {theirs}: a margin of {margin:.2g}{share}'
    if deviation is None:
        return f'{text}. One seed: the margin may be noise.'
    sign = 1 if figure in LOWER_IS_BETTER else -1
    wins = sum(sign * (b - a) > 0 for a, b in zip(best, second, strict=True))
    ahead = f'it is ahead with {wins} of {len(best)} seeds'
    pooled = math.sqrt((deviation**2 + other_deviation**2) / 2)
    if not pooled:
        return f'{text}; {ahead}, which do not differ among themselves.'
    noise = '' if margin >= FEW_DEVIATIONS * pooled else ' Within so few deviations it may be noise: run more seeds.'
    return f'{text}, or {margin / pooled:.1f} standard deviations over the {len(best)} seeds; {ahead}.{noise}'


def as_json(results: Results) -> dict[str, Any]:
    """What ``results.json`` holds."""
    config = results.plan.config
    return {
        'sweep': config.sweep,
        'figure': results.figure,
        'images': config.sweeps.images,
        'verdict': verdict(results),
        'settings': [_row_json(row, results.figure) for row in results.rows],
    }


def _row_json(row: Row, figure: str) -> dict[str, Any]:
    mean, deviation = mean_and_deviation(row.values(figure))
    return {
        'name': row.name,
        'setting': row.setting,
        'mean': mean,
        'deviation': deviation,
        'parameters': row.parameters(),
        'runs': [
            {
                'workdir': outcome.run.folder,
                'seed': outcome.run.seed,
                'state': outcome.state,
                'why': outcome.why,
                'steps': outcome.drawing.config.train.steps,
                'figures': _figures(outcome.found or {}),
                'log': outcome.log[-1] if outcome.log else {},
            }
            for outcome in row.outcomes
        ],
    }


def _figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """All numbers that were found; the rest of it, with the protocol, is in the run's workdir."""
    judged = {f'judge.{name}': value for name, value in found.get('judge', {}).items()}
    return {name: value for name, value in {**found, **judged}.items() if isinstance(value, int | float)}
