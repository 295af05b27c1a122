"""Plan a sweep: which models it trains and which samples it evaluates; and refuse what cannot work before the first run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from etils import epath

from jaxgen.apps import stored_config
from jaxgen.apps.config import Config, field_names
from jaxgen.apps.evaluate import results
from jaxgen.apps.rules import validate
from jaxgen.apps.same_run import RUN_FIELDS, differences, require_same, run_fields
from jaxgen.apps.sweep import grammar
from jaxgen.apps.sweep.options import require_together
from jaxgen.errors import UserError, check
from jaxgen.io.files import parse_object
from jaxgen.io.names import safe_name
from jaxgen.io.run_directory import CHECKPOINTS, numbered, warn_once
from jaxgen.methods import METHODS
from jaxgen.schema import located
from jaxgen.types import JsonObject

FOLDER = 'sweep'  # folder in the run directory of the sweep, with a run directory for each run
RESULTS = (
    'evaluation/sweep'  # folder in the run directory of a run: <steps>.json, or <steps>-<sampler>.json for several
)
DIVERGED = 'diverged.json'  # file in the run directory of a run whose loss was not finite
SECTIONS = ('sweep', 'evaluation')  # sections of the config of a run, in addition to those of its model
# A stored result is used again if its config has the same values of these fields.
RESULT_FIELDS = (*RUN_FIELDS, 'train.steps', 'checkpoint.restore', 'sample', 'evaluation')
FILE_NAME = 'sample.name'  # the only one of these fields that changes no result


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """A way to sample from a trained model; its samples are evaluated.

    Attributes:
      name: the values of the swept fields of ``sample``; empty if none of them is swept.
      config: the config of the run, with these values.
    """

    name: str
    config: Config

    @property
    def stem(self) -> str:
        """The name of its files, without their suffix."""
        return '-'.join(filter(None, [str(self.config.train.steps), self.name]))


@dataclasses.dataclass(frozen=True)
class Run:
    """A model to train; settings that differ only in how they sample share it.

    Attributes:
      name: the values of the swept fields that decide its training, without the seed.
      seed: the seed of the training.
      samplers: one or more ways to sample from it; the config of the first is the config of the training.
    """

    name: str
    seed: int
    samplers: list[SamplerConfig]

    @property
    def config(self) -> Config:
        """The config of the training."""
        return self.samplers[0].config

    @property
    def folder(self) -> str:
        """The name of its run directory."""
        return '-'.join(filter(None, [self.name, f'seed{self.seed}']))


@dataclasses.dataclass(frozen=True)
class PlannedSetting:
    """A setting with a run and a sampler for each seed."""

    setting: grammar.Setting
    name: str
    runs: list[tuple[Run, SamplerConfig]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that a sweep does.

    Attributes:
      config: the config of the sweep.
      labels: the swept fields, and the short name of each.
      runs: the runs in the order in which they are trained: all settings with one seed, then all with the next.
      settings: the settings in the order in which they are written.
    """

    config: Config
    labels: dict[str, str]
    runs: list[Run]
    settings: list[PlannedSetting]


def plan(config: Config) -> Plan:
    """Return the plan of the sweep that ``config.sweep`` describes.

    Raises:
      UserError: if a setting cannot be trained, or the deciding metric cannot be computed.
    """
    _require_sweepable(config)
    settings = grammar.settings(config.sweep.settings or '', config)
    check(
        'train.steps' not in settings[0] or config.sweep.images is None,
        'config.sweep.settings: config.train.steps cannot be swept together with config.sweep.images, which decides it: '
        'leave out one of the two',
    )
    fields = field_names(config.method)
    runs: dict[tuple[str, int], Run] = {}
    planned = [PlannedSetting(setting, grammar.describe(setting, fields), []) for setting in settings]
    for seed in range(config.seed, config.seed + config.sweep.seeds):
        for each in planned:
            sampling = {field: value for field, value in each.setting.items() if field.startswith('sample.')}
            training = {field: value for field, value in each.setting.items() if field not in sampling}
            sampler = SamplerConfig(_file_name(sampling, fields), _run_config(config, each, seed))
            name = _file_name(training, fields)
            run = runs.setdefault((name, seed), Run(name, seed, []))
            run.samplers.append(sampler)
            each.runs.append((run, sampler))
    labels = {field: grammar.short_name(field, fields) for field in settings[0]}
    return Plan(config, labels, list(runs.values()), planned)


def _require_sweepable(config: Config) -> None:
    check(
        METHODS[config.method].supports.samples,
        f'config.family={config.method} generates no images to evaluate: sweep a diffusion model or a GAN',
    )
    with located('config.'):
        require_together(config.sweep, config.evaluation, config.model.conditional, config.mesh.distributed)


def _run_config(config: Config, planned: PlannedSetting, seed: int) -> Config:
    """Return the config of a run; its evaluation has its own seed, so that metrics vary with both training and sampling."""
    own = {'seed': seed, 'evaluation.seed': (config.evaluation.seed + seed) % 2**32, 'sweep.settings': None}
    try:
        found = config.replace(planned.setting | own)
        if config.sweep.images is not None:
            found = found.replace({'train.steps': -(-config.sweep.images // found.data.batch_size)})
        validate(found)
    except UserError as e:
        raise UserError(f'config.sweep.settings, the setting {planned.name}: {e}') from e
    return found


def _file_name(setting: grammar.Setting, fields: Sequence[str]) -> str:
    """Return a name that does not depend on the order of the fields, so that the next sweep finds the run again."""
    name = grammar.describe(dict(sorted(setting.items())), fields, between='-')
    return safe_name(name) if name else ''


def require_own(run: Run, folder: epath.Path) -> None:
    """Refuse a run whose run directory holds another run, or a run with more steps.

    Args:
      run: a run of the sweep.
      folder: the folder of the sweep.

    Raises:
      UserError: naming the field that differs.
    """
    workdir = folder / run.folder
    stored = stored_config.read_run(workdir)
    if stored is None:
        return
    require_same(run.config, stored, run_fields(run.config), str(workdir))
    trained, steps = numbered(workdir / CHECKPOINTS), run.config.train.steps
    check(
        max(trained, default=0) <= steps,
        f'{workdir} is at step {max(trained, default=0)}, beyond the {steps} steps of this sweep: raise '
        f'config.sweep.images (or config.train.steps, if that is not set), or pass another --workdir',
    )


def divergence(run: Run, folder: epath.Path) -> str | None:
    """Return why a run diverged; None if its loss stayed finite."""
    path = folder / run.folder / DIVERGED
    if not path.exists():
        return None
    try:
        found = parse_object(path.read_bytes())
    except (OSError, ValueError):
        found = {}
    step, reason = found.get('step'), found.get('reason')
    if type(step) is not int or not isinstance(reason, str):
        warn_once(f'{path} does not say why the run ended, and is left out: the run is tried again')
        return None
    return reason if step <= run.config.train.steps else None


def result(run: Run, sampler: SamplerConfig, folder: epath.Path) -> JsonObject | None:
    """Return the result that ``worker.py`` wrote for a run and a sampler; None if there is no result of the same config."""
    path = folder / run.folder / RESULTS / f'{sampler.stem}.json'
    if not path.exists():
        return None
    found = results.read(path)
    if found is None:
        return None
    parameters, config = found.get('parameters'), found.get('config')
    if not isinstance(config, dict) or not parameters or 'name' not in found['protocol'].get('extractor', {}):
        warn_once(f'{path} holds no complete result of a sweep, and is left out')
        return None
    then = stored_config.modernised(config, str(path))
    changed = differences(sampler.config.to_tree(), then, RESULT_FIELDS)
    return None if any(field != FILE_NAME for field, _, _ in changed) else found


def is_done(run: Run, folder: epath.Path) -> bool:
    """Return whether nothing is left to do for a run."""
    if divergence(run, folder) is not None:
        return True
    return all(result(run, sampler, folder) is not None for sampler in run.samplers)
