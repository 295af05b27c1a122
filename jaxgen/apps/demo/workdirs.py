"""The run directories that the page shows, which are all that it reads."""

from __future__ import annotations

import collections
import pathlib
import re
import threading
from collections.abc import Iterable
from typing import NamedTuple

from etils import epath

from jaxgen.apps import stored_config, weights
from jaxgen.apps.config import Config
from jaxgen.apps.demo import kept_grid
from jaxgen.apps.demo.engine import Model
from jaxgen.apps.evaluate.results import stored_results
from jaxgen.apps.reports import weak_metrics
from jaxgen.apps.restore import restore
from jaxgen.apps.rules import validate
from jaxgen.errors import UserError, check, pick
from jaxgen.io import run_directory
from jaxgen.io.files import visible
from jaxgen.io.lock import is_locked
from jaxgen.io.run_directory import METRICS, numbered, read_metrics
from jaxgen.methods import METHODS
from jaxgen.types import JsonObject

PLACES = 'runs', 'pretrained'  # folders in which run directories are looked for if none is named
MAX_MODELS = 4  # largest number of models in memory
CHECKPOINTS = {'newest': run_directory.CHECKPOINTS, 'best': run_directory.BEST}
SECTIONS = ('edit',)  # sections of a stored config that the page needs besides those of the model


class KeptGrid(NamedTuple):
    """A grid of samples in a file.

    Attributes:
      file: the PNG file.
      narrow_file: a PNG file with a narrow grid for phones; None if there is none.
      what: words that say where the samples come from.
    """

    file: epath.Path
    narrow_file: epath.Path | None
    what: str


class Workdirs:
    """A collection of run directories by their names, which are their paths as a user would type them.

    Args:
      config: the config of the page. If ``demo.workdirs`` is not set, the run directories are ``workdir`` and all under
        ``runs/`` and ``pretrained/``, looked up again each time.
      workdir: the run directory of the page.

    Raises:
      UserError: if a folder in ``demo.workdirs`` is not a run directory.
    """

    def __init__(self, config: Config, workdir: epath.Path):
        self._config, self._workdir = config, workdir
        self._named = [epath.Path(name) for name in config.demo.workdirs or ()]
        self._models: collections.OrderedDict[str, tuple[list[str], Model]] = collections.OrderedDict()
        self._lock = threading.Lock()
        self._reading: dict[str, threading.Lock] = {}
        for folder in self._named:
            check(
                (folder / run_directory.CONFIG).exists(),
                f'config.demo.workdirs: {folder} holds no run (no config.json): train one there, or leave it out',
            )

    def all(self) -> dict[str, epath.Path]:
        """Return the run directories by their names, beginning with that of ``--workdir``."""
        found = [epath.Path(p) for place in PLACES for p in visible(pathlib.Path(place), '*')]
        folders = self._named or [self._workdir, *found]
        return {_typed(folder): folder for folder in folders if (folder / run_directory.CONFIG).exists()}

    def able_to_sample(self) -> list[str]:
        """Return the names of the run directories with a trained model that samples images.

        The pretrained model with the lowest FID comes first, unless ``demo.workdirs`` sets the order.
        """
        names = [name for name, folder in self.all().items() if self._checkpoints(folder) and _samples(folder)]
        return names if self._named else sorted(names, key=self._rank)

    def pretrained(self) -> list[str]:
        """Return the names of the pretrained models, which have weights but no checkpoints, in the order of their FID."""
        return sorted((name for name in self.able_to_sample() if self._is_pretrained(name)), key=self._rank)

    def titles(self) -> dict[str, str]:
        """Return the title of each run directory: the name of its folder, or its whole path if others have the same title."""
        last = {name: epath.Path(name).name for name in self.all()}
        count = collections.Counter(last.values())
        return {name: title if count[title] == 1 else name for name, title in last.items()}

    def choices(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """Return the entries of a list of models: the title with the FID, and the name of the run directory."""
        titles, choices = self.titles(), []
        for name in names:
            fid = (self.evaluation(name) or {}).get('fid')
            choices.append((titles[name] if fid is None else f'{titles[name]}, FID {fid:.1f}', name))
        return choices

    def evaluation(self, name: str) -> JsonObject | None:
        """Return the evaluation with the most images; None if no evaluation has enough images for an FID."""
        results = [result for result in self.evaluations(name).values() if 'fid' not in weak_metrics.reasons([result])]
        return max(results, key=lambda result: result['protocol']['generated']['count'], default=None)

    def kept_grid(self, name: str) -> KeptGrid | None:
        """Return the finished grid that is kept with a model, or else the last one of its training; None if there is none."""
        kept, narrow = (self.path(name) / file for file in (kept_grid.FILE, kept_grid.NARROW_FILE))
        if kept.exists():
            return KeptGrid(kept, narrow if narrow.exists() else None, 'samples kept with the model')
        written = self.grids(name)
        if not written:
            return None
        return KeptGrid(written[max(written)], None, f'samples at step {max(written):,} of training')

    def is_training(self) -> bool:
        """Return whether one of the runs is in training now."""
        return any(is_locked(folder) for folder in self.all().values())

    def path(self, name: str) -> epath.Path:
        """Return the folder of a name.

        Raises:
          UserError: if no run directory has this name.
        """
        folders = self.all()
        return folders[pick(name, folders, 'the run directory')]

    def model(self, name: str) -> Model:
        """Return the newest (or best) model of a run, which is read again when training has saved a newer one.

        Raises:
          UserError: if the run has no model, or its model cannot be read.
        """
        folder = self.path(name)
        with self._lock:
            reading = self._reading.setdefault(name, threading.Lock())
        with reading:  # reading a model does not block the visitors of other models
            checkpoints = self._checkpoints(folder)
            known, model = self._models.get(name, (None, None))
            if model is None or known != checkpoints:
                model = Model(restore(self._config_of(folder), folder))
        with self._lock:
            self._models[name] = checkpoints, model
            self._models.move_to_end(name)
            while len(self._models) > MAX_MODELS:
                self._models.popitem(last=False)
        return model

    def has_read(self, name: str) -> bool:
        """Return whether a model of the run is in memory, so that ``model`` usually returns at once."""
        return name in self._models

    def config(self, name: str) -> Config:
        """Return the stored config of a run."""
        return _stored(self.path(name))

    def log(self, name: str) -> list[dict[str, float]]:
        """Return the rows of ``metrics.jsonl``."""
        return read_metrics(self.path(name) / METRICS)

    def evaluations(self, name: str) -> dict[str, JsonObject]:
        """Return the results in ``evaluation/`` by the names of their files."""
        return stored_results(self.path(name))

    def grids(self, name: str) -> dict[int, epath.Path]:
        """Return the files with the grids of samples that training wrote, by step."""
        paths = (self.path(name) / 'samples').glob('step_*.png')
        numbered = ((re.fullmatch('step_([0-9]{1,10})', path.stem), path) for path in paths)
        return dict(sorted((int(match[1]), path) for match, path in numbered if match))

    def _is_pretrained(self, name: str) -> bool:
        return (self.path(name) / weights.FILE).exists()

    def _rank(self, name: str) -> tuple[bool, float]:
        """Return the key that sorts models: pretrained models by their FID, and then all others in their present order."""
        result = self.evaluation(name) if self._is_pretrained(name) else None
        fid = (result or {}).get('fid')
        return not self._is_pretrained(name), float('inf') if fid is None else fid

    def _checkpoints(self, folder: epath.Path) -> list[str]:
        """Return the names of the checkpoints, or of the file with the weights."""
        if (folder / weights.FILE).exists():
            return [weights.FILE]
        return [str(step) for step in numbered(folder / CHECKPOINTS[self._config.checkpoint.restore])]

    def _config_of(self, folder: epath.Path) -> Config:
        """Return the config of a run with the page's own devices and choice of checkpoint."""
        page = self._config
        config = _stored(folder).replace({'mesh': page.mesh, 'checkpoint.restore': page.checkpoint.restore})
        validate(config)
        return config


def _stored(folder: epath.Path) -> Config:
    return stored_config.read(folder / run_directory.CONFIG, SECTIONS)


def _samples(folder: epath.Path) -> bool:
    """Return whether the method of a run samples images."""
    try:
        return METHODS[_stored(folder).method].supports.samples
    except UserError:
        return False


def _typed(folder: epath.Path) -> str:
    """Return the path of a folder as a user would type it: relative to the current folder if it is inside."""
    here = pathlib.Path.cwd()
    path = pathlib.Path(folder)
    return str(path.relative_to(here)) if path.is_relative_to(here) and path != here else str(folder)
