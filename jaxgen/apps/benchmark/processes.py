"""The processes of a benchmark, one for each measurement."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

import jaxgen
from jaxgen.apps.benchmark.variants import Variant
from jaxgen.apps.config import Config
from jaxgen.errors import UserError
from jaxgen.types import Fields, JsonObject

TWIN_CASES = ('check', 'train', 'sample')  # cases for which PyTorch needs a counterpart of the model
OUT_OF_TIME = 'the time of config.benchmark.minutes is over'


class Bench:
    """The processes of one benchmark, and the folder through which they exchange files.

    Args:
      config: the config of the benchmark.
      folder: the folder of the files.
      trace: the folder into which jaxgen's variants write profiles; None for no profiles.
    """

    def __init__(self, config: Config, folder: pathlib.Path, trace: str | None = None):
        self._config, self._folder, self._trace = config, folder, trace
        self._stored = folder / 'config.json'
        self._stored.write_text(json.dumps(config.to_tree()))
        self._facts: JsonObject = {}
        self._start_time = time.monotonic()

    def describe(self) -> JsonObject:
        """Return the facts of the model and of the device; see ``describe.py``.

        Raises:
          UserError: if the config cannot work on this device.
        """
        found = self._start({'side': 'jaxgen', 'case': 'describe', 'options': {'model.dtype': 'float32'}})
        if reason := found.get('refused') or found.get('failed'):
            raise UserError(reason)
        self._facts = found
        return found

    def run(self, case: str, variant: Variant) -> JsonObject:
        """Measure one variant.

        Args:
          case: one of ``CASES``, or ``check``.
          variant: the variant to run.

        Returns:
          The result of ``measure``; or the reason why there is no measurement, as ``missing``, ``refused`` or ``failed``.

        Raises:
          UserError: if ``config.benchmark.python`` cannot be started.
        """
        if variant.side == 'pytorch' and case in TWIN_CASES and 'no_twin' in self._facts:
            return {'refused': self._facts['no_twin']}
        spec = {
            'side': variant.side,
            'case': case,
            'options': variant.options,
            'precision': variant.precision,
            'trace': self._trace and f'{self._trace}/{case}-{variant.name}'.replace(' ', '_'),
            'xla_flags': variant.xla_flags,
        }
        shared = {name: self._facts[name] for name in ('platform', 'image_shape', 'num_classes')}
        seconds_left = self._seconds_left()
        if seconds_left == 0:
            return {'refused': OUT_OF_TIME}
        return self._start({**spec, **shared}, seconds_left)

    def _seconds_left(self) -> float | None:
        """Return the seconds until ``config.benchmark.minutes`` are over, at least 0; None without that limit."""
        minutes = self._config.benchmark.minutes
        return None if minutes is None else max(0.0, self._start_time + 60 * minutes - time.monotonic())

    def _start(self, spec: Fields, timeout: float | None = None) -> JsonObject:
        """Run ``worker.py`` with a spec, and return its result."""
        spec_path, result_path = (self._folder / name for name in ('spec.json', 'result.json'))
        shared = {'config': str(self._stored), 'folder': str(self._folder / 'twin')}
        spec_path.write_text(json.dumps({**spec, **shared}))
        result_path.unlink(missing_ok=True)
        python = sys.executable
        if spec['side'] == 'pytorch' and self._config.benchmark.python is not None:
            python = self._config.benchmark.python
        command = [python, '-m', 'jaxgen.apps.benchmark.worker', str(spec_path), str(result_path)]
        try:
            done = subprocess.run(
                command,
                env=_environment(spec.get('xla_flags')),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            return {'failed': OUT_OF_TIME}
        except OSError as e:
            raise UserError(
                f'config.benchmark.python={python} cannot be started ({e.strerror}): name a Python interpreter'
            ) from e
        if not result_path.exists():
            said = done.stderr.strip().splitlines() or [f'exit status {done.returncode}']
            return {'failed': said[-1][:300]}
        return json.loads(result_path.read_text())


def _environment(xla_flags: str | None) -> dict[str, str]:
    """Return the environment of a process that can import jaxgen from any folder, with additional XLA flags."""
    root = str(pathlib.Path(jaxgen.__path__[0]).parent)
    env = os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, [root, os.environ.get('PYTHONPATH')]))}
    if xla_flags:
        env['XLA_FLAGS'] = f'{env.get("XLA_FLAGS", "")} {xla_flags}'.strip()
    return env
