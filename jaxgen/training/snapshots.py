"""Snapshots of the power-function averages of a run: ``<run directory>/ema/<step>.safetensors``, in float16."""

from __future__ import annotations

import re

import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load, save

from jaxgen.errors import UserError, check
from jaxgen.io.files import visible, write_atomically
from jaxgen.optim.power_ema import coefficients
from jaxgen.types import PyTree


class Snapshots:
    """The snapshots of a run, one file a step."""

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
        write_atomically(self._folder / f'{step}.safetensors', save(tensors))

    def steps(self, until: int) -> list[int]:
        """Return the steps of the snapshots up to and including ``until``, in rising order."""
        files = visible(self._folder, '*.safetensors')
        found = sorted(int(file.stem) for file in files if re.fullmatch(r'\d+', file.stem))
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
        lengths = sorted({name.partition('/')[0] for name in self._read(steps[-1])})
        step_of, length_of = np.array(steps, float).repeat(len(lengths)), np.array(lengths * len(steps), float)
        weights = coefficients(step_of, length_of, steps[-1], length).reshape(len(steps), len(lengths))
        total: dict[str, np.ndarray] = {}
        for step, row in zip(steps, weights, strict=True):
            tensors = self._read(step)
            for known, weight in zip(lengths, row, strict=True):
                _add(total, tensors, f'{known}/', np.float32(weight))
        return unflatten_dict(total, sep='/')

    def _read(self, step: int) -> dict[str, np.ndarray]:
        path = self._folder / f'{step}.safetensors'
        try:
            return load(path.read_bytes())
        except Exception as e:
            raise UserError(f'{path} is damaged ({e}): remove it, and the average is made of the others') from e


def _add(total: dict[str, np.ndarray], tensors: dict[str, np.ndarray], prefix: str, weight: np.float32) -> None:
    """Add the tensors whose names start with ``prefix`` to ``total``, multiplied by ``weight``."""
    for name, value in tensors.items():
        if name.startswith(prefix):
            part = weight * value.astype(np.float32)
            name = name.removeprefix(prefix)
            total[name] = total[name] + part if name in total else part
