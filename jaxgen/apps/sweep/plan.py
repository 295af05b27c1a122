"""Which models a sweep trains, which images it judges, and all that can be refused before the first of them starts."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps.rules import validate
from jaxgen.apps.same_run import RUN_FIELDS, differences, flatten, require_same, run_fields
from jaxgen.apps.sweep import grammar
from jaxgen.errors import UserError, check, names, pick
from jaxgen.io.run_directory import CHECKPOINTS, read_config
from jaxgen.methods import METHODS

FOLDER = 'sweep'  # in the workdir
JUDGED = 'evaluation/sweep'  # in the workdir of a run: <steps>.json, or <steps>-<drawing>.json of several
DIVERGED = 'diverged.json'  # likewise, of a run whose loss was not finite
# Figures that can decide, and the entry of config.evaluation.metrics that each is made by; the judge's are always made.
FIGURES = {
    'fid': 'fid',
    'kid': 'kid',
    'inception_score': 'inception_score',
    'precision': 'precision_recall',
    'recall': 'precision_recall',
    'judge.accuracy': '',
    'judge.mean_confidence': '',
}
LOWER_IS_BETTER = ('fid', 'kid')
# What decides a figure: with the same values it is not made again.
DECIDING = (*RUN_FIELDS, 'train.steps', 'checkpoint.restore', 'sample', 'evaluation')


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A way to draw from a model, and to judge what is drawn.

    Attributes:
      name: empty where no field of ``sample`` is swept.
    """

    name: str
    config: ConfigDict

    @property
    def stem(self) -> str:
        """Of the names of its files."""
        return '-'.join(filter(None, [str(self.config.train.steps), self.name]))


@dataclasses.dataclass(frozen=True)
class Run:
    """One model to train: settings that only draw in other ways share it.

    Attributes:
      name: of its setting, without the seed.
      drawings: one at least; the config of the first is that of the training.
    """

    name: str
    seed: int
    drawings: list[Drawing]

    @property
    def config(self) -> ConfigDict:
        return self.drawings[0].config

    @property
    def folder(self) -> str:
        """The name of its workdir."""
        return '-'.join(filter(None, [self.name, f'seed{self.seed}']))


@dataclasses.dataclass(frozen=True)
class Row:
    """A setting with the runs, one a seed, and the drawings that say how good it is."""

    setting: grammar.Setting
    name: str
    runs: list[tuple[Run, Drawing]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """All of a sweep.

    Attributes:
      labels: the swept fields, and what each is called.
      runs: in the order in which they are trained: all settings with one seed, then with the next.
      rows: in the order of the settings.
    """

    config: ConfigDict
    labels: dict[str, str]
    runs: list[Run]
    rows: list[Row]


def plan(config: ConfigDict) -> Plan:
    """What ``config.sweep`` and ``config.sweeps`` ask for.

    Raises:
      UserError: if any setting cannot work, or its figure cannot be made.
    """
    _check_options(config)
    flat = flatten(config.to_dict())
    settings = grammar.settings(config.sweep, config)
    for field in settings[0]:
        check(
            field != 'train.steps' or not config.sweeps.images,
            'config.sweep: config.train.steps cannot be swept beside config.sweeps.images, which decides it: leave out '
            'one of the two',
        )
    runs: dict[tuple[str, int], Run] = {}
    rows = [Row(setting, grammar.describe(setting, flat), []) for setting in settings]
    for seed in range(config.seed, config.seed + config.sweeps.seeds):
        for row in rows:
            resolved = _resolved(config, row, seed)
            drawn = {field: value for field, value in row.setting.items() if field.startswith('sample.')}
            trained = {field: value for field, value in row.setting.items() if field not in drawn}
            drawing = Drawing(_file_name(drawn, flat), resolved)
            run = runs.setdefault((_file_name(trained, flat), seed), Run(_file_name(trained, flat), seed, []))
            run.drawings.append(drawing)
            row.runs.append((run, drawing))
    return Plan(config, {f: grammar.short_name(f, flat) for f in settings[0]}, list(runs.values()), rows)


def _check_options(config: ConfigDict) -> None:
    check(
        METHODS[config.family].supports.samples,
        f'config.family={config.family} generates no images to evaluate: sweep a diffusion model or a GAN',
    )
    figure = pick(config.sweeps.figure, FIGURES, 'config.sweeps.figure')
    metric = FIGURES[figure]
    check(
        not metric or metric in names(config.evaluation.metrics),
        f'config.sweeps.figure={figure} is made by {metric}: add it to config.evaluation.metrics',
    )
    check(
        figure != 'judge.accuracy' or config.model.conditional,
        'config.sweeps.figure=judge.accuracy needs images that are asked to show a class: set config.model.conditional='
        'True, or take another figure',
    )
    check(
        not config.evaluation.generated,
        'config.evaluation.generated must be empty: a sweep judges what its own models draw',
    )
    check(
        not config.mesh.distributed,
        'config.mesh.distributed must be False: the runs of a sweep are trained by one host, one after another',
    )


def _resolved(config: ConfigDict, row: Row, seed: int) -> ConfigDict:
    """The config of a run: a seed of training has its own seed of evaluation, so that figures vary with both."""
    own = config.copy_and_resolve_references()
    own.update_from_flattened_dict(row.setting)
    own.seed, own.sweep = seed, ''
    own.evaluation.seed = (config.evaluation.seed + seed) % 2**32
    if config.sweeps.images:
        own.train.steps = -(-config.sweeps.images // max(1, own.data.batch_size))
    try:
        validate(own)
    except UserError as e:
        raise UserError(f'config.sweep, the setting {row.name}: {e}') from e
    return own


def _file_name(setting: grammar.Setting, flat: dict[str, Any]) -> str:
    """The same in whatever order the fields are written, so that a run is found again."""
    name = grammar.describe(dict(sorted(setting.items())), flat, between='-')
    return re.sub(r'[^\w.+=-]', '_', name)


def require_own(run: Run, folder: epath.Path) -> None:
    """Refuses a run whose workdir holds another run, or one that went on for longer.

    Raises:
      UserError: naming the field.
    """
    workdir = folder / run.folder
    stored = read_config(workdir)
    if stored is None:
        return
    require_same(run.config, stored, run_fields(run.config), str(workdir))
    checkpoints = workdir / CHECKPOINTS
    there = [int(p.name) for p in checkpoints.iterdir() if p.name.isdigit()] if checkpoints.exists() else []
    steps = run.config.train.steps
    check(
        max(there, default=0) <= steps,
        f'{workdir} is at step {max(there, default=0)}, beyond the {steps} steps of this sweep: raise '
        f'config.sweeps.images (or, if that is 0, config.train.steps), or pass another --workdir',
    )


def divergence(run: Run, folder: epath.Path) -> str:
    """Why a run ended before its budget, if its loss was not finite; else empty."""
    path = folder / run.folder / DIVERGED
    if not path.exists():
        return ''
    found = json.loads(path.read_text())
    return found['reason'] if found['step'] <= run.config.train.steps else ''


def result(run: Run, drawing: Drawing, folder: epath.Path) -> dict[str, Any] | None:
    """What ``worker.py`` found of a drawing, if it was made with this config and these options."""
    path = folder / run.folder / JUDGED / f'{drawing.stem}.json'
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    stale = any(differences(json.loads(drawing.config.to_json()), found['config'], DECIDING))
    return None if stale else found


def is_done(run: Run, folder: epath.Path) -> bool:
    """Whether nothing is left to be done for a run."""
    return bool(divergence(run, folder)) or all(result(run, drawing, folder) for drawing in run.drawings)
