"""Snapshots of the power-function averages of a run: ``<run directory>/ema/<step>.safetensors``, in float16."""

from __future__ import annotations

import re

import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict
from safetensors.numpy import save

from jaxgen.errors import UserError, check
from jaxgen.io import tensors as stored_tensors
from jaxgen.io.files import visible, write_atomically
from jaxgen.optim.power_ema import LONGEST, coefficients
from jaxgen.types import PyTree


class Snapshots:
    """The snapshots of a run, with one file for each step."""

    def __init__(self, workdir: epath.Path):
        self._folder = workdir / 'ema'

    def save(self, step: int, averages: dict[float, PyTree]) -> None:
        """Write the averages of a step.

        Args:
          step: the step of the averages.
          averages: nested dicts of arrays by the length of the average.
        """
        tensors = {
            f'{length}/{name}': np.asarray(value, np.float16)
            for length, tree in averages.items()
            for name, value in flatten_dict(tree, sep='/').items()
        }
        write_atomically(self._path(step), save(tensors))

    def steps(self, until: int) -> list[int]:
        """Return the steps of the snapshots up to and including ``until``, in rising order."""
        files = visible(self._folder, '*.safetensors')
        found = sorted(int(file.stem) for file in files if re.fullmatch('[0-9]{1,10}', file.stem))
        return [step for step in found if step <= until]

    def average(self, length: float, until: int) -> dict[str, PyTree]:
        """Return the float32 average of any length, at the last snapshot up to and including ``until``.

        Raises:
          UserError: if there is no snapshot, or one is damaged.
        """
        steps = self.steps(until)
        check(
            len(steps) > 0,
            f'{self._folder} holds no snapshot up to step {until}: an average of a length chosen afterwards needs training with '
            f'two lengths or more, as in ema_lengths=0.05,0.1',
        )
        shapes = {name: x.shape for name, x in self._read(steps[-1]).items()}
        lengths = sorted({name.partition('/')[0] for name in shapes})
        step_of, length_of = np.array(steps, float).repeat(len(lengths)), np.array(lengths * len(steps), float)
        weights = coefficients(step_of, length_of, steps[-1], length).reshape(len(steps), len(lengths))
        total: dict[str, np.ndarray] = {}
        for step, row in zip(steps, weights, strict=True):
            tensors = self._read(step)
            check(
                {name: x.shape for name, x in tensors.items()} == shapes,
                f'{self._path(step)} holds other tensors than {self._path(steps[-1])}: remove the one that is not of this run',
            )
            for known, weight in zip(lengths, row, strict=True):
                _add(total, tensors, f'{known}/', np.float32(weight))
        return stored_tensors.unflatten(total, '/')

    def _path(self, step: int) -> epath.Path:
        return self._folder / f'{step}.safetensors'

    def _read(self, step: int) -> dict[str, np.ndarray]:
        path, remedy = self._path(step), 'remove it, and the average is made of the others'
        try:
            tensors, _ = stored_tensors.parse(path.read_bytes())
        except (OSError, ValueError) as e:
            raise UserError(f'{path} is damaged ({e}): {remedy}') from e
        wrong = [name for name in tensors if not _is_average(name)]
        check(bool(tensors) and not wrong, f'{path} is no snapshot of averages ({"".join(wrong[:1])}): {remedy}')
        return stored_tensors.float32(tensors, path)


def _is_average(name: str) -> bool:
    """Return whether a name consists of the length of an average, a slash and the name of a tensor."""
    length, slash, _ = name.partition('/')
    try:
        return bool(slash) and 0 < float(length) <= LONGEST
    except ValueError:
        return False


def _add(total: dict[str, np.ndarray], tensors: dict[str, np.ndarray], prefix: str, weight: np.float32) -> None:
    """Add the tensors whose names start with ``prefix`` to ``total``, multiplied by ``weight``."""
    for name, value in tensors.items():
        if name.startswith(prefix):
            part = weight * value
            name = name.removeprefix(prefix)
            total[name] = total[name] + part if name in total else part
