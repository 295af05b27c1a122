"""The workdirs that a page shows, and nothing outside of them."""

from __future__ import annotations

import collections
import pathlib
import re
import threading

from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps import stored_config, weights
from jaxgen.apps.demo.engine import Model
from jaxgen.apps.evaluate.evaluator import stored_results
from jaxgen.apps.restore import restore
from jaxgen.apps.rules import validate
from jaxgen.errors import UserError, check, names, pick
from jaxgen.io import run_directory
from jaxgen.methods import METHODS

PLACES = 'runs', 'pretrained'  # where workdirs are looked for if none is named
OPEN = 4  # models kept in memory
CHECKPOINTS = {'newest': run_directory.CHECKPOINTS, 'best': run_directory.BEST}


class Workdirs:
    """Workdirs by the name that a visitor picks, which is their path as one would type it.

    Args:
      config: ``config.demo.workdirs`` names them; empty: ``workdir`` and all under ``runs/`` and ``pretrained/``, looked up
        again each time.

    Raises:
      UserError: if one that was named is none.
    """

    def __init__(self, config: ConfigDict, workdir: epath.Path):
        self._config, self._workdir = config, workdir
        self._named = [epath.Path(name) for name in names(config.demo.workdirs)]
        self._open: collections.OrderedDict[str, tuple[list[str], Model]] = collections.OrderedDict()
        self._lock = threading.Lock()
        for folder in self._named:
            check(
                (folder / run_directory.CONFIG).exists(),
                f'config.demo.workdirs: {folder} holds no run (no config.json): train one there, or leave it out',
            )

    def all(self) -> dict[str, epath.Path]:
        """Those with a run, that of ``--workdir`` first."""
        found = [epath.Path(p) for place in PLACES for p in sorted(pathlib.Path(place).glob('*'))]
        folders = self._named or [self._workdir, *found]
        return {_typed(folder): folder for folder in folders if (folder / run_directory.CONFIG).exists()}

    def that_draw(self) -> list[str]:
        """Names of those with a checkpoint of a model that draws images."""
        return [name for name, folder in self.all().items() if self._steps(folder) and _draws(folder)]

    def path(self, name: str) -> epath.Path:
        """Of one of ``all``.

        Raises:
          UserError: if it is none of them.
        """
        folders = self.all()
        return folders[pick(name, folders, 'the workdir')]

    def model(self, name: str) -> Model:
        """The newest (or best) model; read again when there is a newer one.

        Raises:
          UserError: if there is none, or it cannot be read.
        """
        folder = self.path(name)
        with self._lock:
            steps = self._steps(folder)
            known, model = self._open.pop(name, (None, None))
            if known != steps:
                model = Model(restore(self._config_of(folder), folder))
            self._open[name] = steps, model
            while len(self._open) > OPEN:
                self._open.popitem(last=False)
            return model

    def _steps(self, folder: epath.Path) -> list[str]:
        """Of the checkpoints; or the name of the file with the weights."""
        if (folder / weights.FILE).exists():
            return [weights.FILE]
        checkpoints = folder / CHECKPOINTS[self._config.checkpoint.restore]
        return sorted(p.name for p in checkpoints.iterdir() if p.name.isdigit()) if checkpoints.exists() else []

    def _config_of(self, folder: epath.Path) -> ConfigDict:
        """Its own, on the devices and with the choice of checkpoint of the page's."""
        own = stored_config.get_config(folder / run_directory.CONFIG)
        own.mesh, own.checkpoint.restore = self._config.mesh, self._config.checkpoint.restore
        validate(own)
        return own

    def config(self, name: str) -> ConfigDict:
        """As it is stored."""
        return stored_config.get_config(self.path(name) / run_directory.CONFIG)

    def log(self, name: str) -> list[dict[str, float]]:
        """The rows of ``metrics.jsonl``."""
        return run_directory.read_metrics(self.path(name) / run_directory.METRICS)

    def evaluations(self, name: str) -> dict[str, dict]:
        """The results under ``evaluation/`` by their file's name."""
        return stored_results(self.path(name))

    def grids(self, name: str) -> dict[int, epath.Path]:
        """The sample grids of training by step."""
        paths = (self.path(name) / run_directory.SAMPLES).glob('step_*.png')
        return dict(sorted((int(re.sub(r'\D', '', path.stem)), path) for path in paths))


def _typed(folder: epath.Path) -> str:
    """Seen from the current folder where it lies in it."""
    here = pathlib.Path.cwd()
    path = pathlib.Path(folder)
    return str(path.relative_to(here)) if path.is_relative_to(here) and path != here else str(folder)


def _draws(folder: epath.Path) -> bool:
    try:
        return METHODS[stored_config.get_config(folder / run_directory.CONFIG).family].draws
    except UserError:
        return False
