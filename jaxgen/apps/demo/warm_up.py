"""Compilation of the programs of the pretrained models in the background, which begins when the page starts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np

from jaxgen.apps.demo.engine import BATCH_SIZES, Model, Progress
from jaxgen.apps.demo.settings import can_edit
from jaxgen.apps.demo.workdirs import MAX_MODELS, Workdirs
from jaxgen.apps.serving.jobs import Jobs
from jaxgen.errors import UserError
from jaxgen.types import Fields

SECONDS = 1.0  # between two checks whether a visitor samples
SAMPLE: Fields = {'sample.num': BATCH_SIZES[-1]}
EDIT: Fields = {'edit.num': BATCH_SIZES[0], 'edit.strength': 0.6}


class WarmUp:
    """A compilation of one program after the other, each of which begins only while no visitor samples.

    A visitor who needs the program that is being compiled waits for it instead of compiling it again.

    Args:
      workdirs: the run directories of the page.
    """

    def __init__(self, workdirs: Workdirs):
        self._workdirs = workdirs
        self._ended = threading.Event()
        self._now = ''

    @property
    def state(self) -> str:
        """A sentence about the program that is being compiled; empty if there is none."""
        return self._now

    def begin(self, jobs: Jobs) -> None:
        """Compile in a thread, unless a run of the page is in training and needs the machine.

        Args:
          jobs: the jobs of all visitors.
        """
        if not self._workdirs.is_training():
            threading.Thread(target=self.run, args=(jobs,), name='warm-up', daemon=True).start()

    def end(self) -> None:
        """Begin no further compilation."""
        self._ended.set()

    def run(self, jobs: Jobs) -> None:
        """Compile the programs of the best pretrained models, beginning with the best one."""
        names = self._workdirs.pretrained()[:MAX_MODELS]
        titles = self._workdirs.titles()
        try:
            for i, name in enumerate(names, 1):
                for way in (_sample, _edit):
                    if not self._may_go_on(jobs):
                        return
                    self._now = (
                        f'Compiling {titles[name]} in the background ({i} of {len(names)}); the page works meanwhile.'
                    )
                    self._compile(name, way)
        finally:
            self._now = ''

    def _compile(self, name: str, way: Callable[[Model], Iterator[Progress]]) -> None:
        """Take the first step of a model, which compiles its program; ``end`` ends the wait for it."""
        try:
            for step in way(self._workdirs.model(name)):
                if step.done or self._ended.is_set():
                    return
        except UserError as e:
            print(f'{name}: {e}', flush=True)

    def _may_go_on(self, jobs: Jobs) -> bool:
        """Wait until no visitor samples, and return whether the page is still served."""
        while jobs.is_busy and not self._ended.is_set():
            self._now = ''
            self._ended.wait(SECONDS)
        return not self._ended.is_set()


def _sample(model: Model) -> Iterator[Progress]:
    return model.generate(SAMPLE)


def _edit(model: Model) -> Iterator[Progress]:
    if not can_edit(model.config):
        return iter(())
    return model.edit(EDIT, np.full(model.trained.method.image_shape, 128, np.uint8))
