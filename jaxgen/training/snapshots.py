"""Snapshots of the moving averages of a run, from which an average of any length is made after training.

:mod:`jaxgen.optim.power_ema` has the mathematics.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load, save

from jaxgen.errors import UserError, check
from jaxgen.io.files import write_atomically
from jaxgen.optim.power_ema import coefficients


class Snapshots:
    """The averages of a run at intervals, one file a step in float16: ``workdir/ema/<step>.safetensors``."""

    def __init__(self, workdir: epath.Path):
        self._folder = workdir / 'ema'

    def save(self, step: int, averages: Mapping[float, Any]) -> None:
        """Write the averages of a step.

        Args:
          averages: nested dicts of arrays by the length of the average.
        """
        tensors = {
            f'{length}/{name}': np.asarray(value, np.float16)
            for length, tree in averages.items()
            for name, value in flatten_dict(tree, sep='/').items()
        }
        write_atomically(self._folder / f'{step}.safetensors', save(tensors))

    def steps(self, until: int) -> list[int]:
        """Return the steps of the snapshots no later than ``until``, in ascending order."""
        files = self._folder.glob('*.safetensors') if self._folder.exists() else []
        steps = sorted(int(file.stem) for file in files if re.fullmatch(r'\d+', file.stem))
        return [step for step in steps if step <= until]

    def average(self, length: float, until: int) -> dict[str, Any]:
        """Return the average of a length at the last snapshot no later than ``until``: nested dicts of float32 arrays.

        Raises:
          UserError: if there is no snapshot, or one is damaged.
        """
        steps = self.steps(until)
        check(
            bool(steps),
            f'{self._folder} holds no snapshot: an average whose length is chosen after training needs a run with '
            f'ema_lengths=0.05,0.1 among the options of its optimizer',
        )
        lengths = sorted({name.partition('/')[0] for name in self._read(steps[-1])})
        step_of_each = np.array(steps, float).repeat(len(lengths))
        length_of_each = np.array(lengths * len(steps), float)
        weights = coefficients(step_of_each, length_of_each, steps[-1], length).reshape(len(steps), len(lengths))
        total: dict[str, np.ndarray] = {}
        for step, row in zip(steps, weights, strict=True):
            self._add(total, step, dict(zip(lengths, row, strict=True)))
        return unflatten_dict(total, sep='/')

    def _add(self, total: dict[str, np.ndarray], step: int, weights: Mapping[str, float]) -> None:
        """Add the averages of a step to ``total``, times the weight of each length."""
        tensors = self._read(step)
        for length, weight in weights.items():
            for name, value in tensors.items():
                if name.startswith(f'{length}/'):
                    part = np.float32(weight) * value.astype(np.float32)
                    name = name.partition('/')[2]
                    total[name] = total[name] + part if name in total else part

    def _read(self, step: int) -> dict[str, np.ndarray]:
        path = self._folder / f'{step}.safetensors'
        try:
            return load(path.read_bytes())
        except Exception as e:  # safetensors has errors of its own for damaged files
            raise UserError(f'{path} is damaged ({e}): remove it, and the average is made of the others') from e
