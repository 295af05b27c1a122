"""``--mode=sweep``: train and evaluate the planned runs one after another; a stopped sweep resumes."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from etils import epath

import jaxgen
from jaxgen.apps.config import Config
from jaxgen.apps.sweep import results
from jaxgen.apps.sweep.plan import FOLDER, Plan, Run, is_done, plan, require_own
from jaxgen.errors import UserError
from jaxgen.io.files import write_json
from jaxgen.io.lock import exclusive
from jaxgen.runtime import progress
from jaxgen.runtime.preemption import StopSignals
from jaxgen.types import Fields, JsonObject

POLL_SECONDS = 0.05  # seconds between two looks at a signal


def sweep(config: Config, workdir: epath.Path) -> results.Results:
    """Do the remaining runs of the sweep that ``config.sweep`` describes.

    ``workdir/sweep`` has a run directory for each run, and ``results.json``, which is written after each run. The next sweep
    tries a failed run again; a run whose loss is not finite counts as done.

    Args:
      config: the config of the sweep.
      workdir: the run directory of the sweep.

    Raises:
      UserError: if a run cannot work, before the first run starts; if a run cannot go on for a reason that all runs share,
        such as a full disk.
      SystemExit: with 128 + the signal's number after SIGTERM or SIGINT, when the current run is saved.
    """
    planned = plan(config)
    folder = workdir / FOLDER
    for run in planned.runs:
        require_own(run, folder)
    with exclusive(folder):
        left = [run for run in planned.runs if not is_done(run, folder)]
        _announce(planned, left)
        if left:
            _check(planned, left)
        failures: dict[str, str] = {}
        found = _write_results(planned, folder, failures)
        for number, run in enumerate(left, 1):
            print(f'\nrun {number} of {len(left)}: {run.folder}', flush=True)
            ended = in_a_process(_spec(run, folder))
            if 'refused' in ended:
                raise UserError(f'{folder / run.folder}: {ended["refused"]}')
            if 'failed' in ended:
                failures[run.folder] = ended['failed']
            found = _write_results(planned, folder, failures)
    return found


def _announce(planned: Plan, left: list[Run]) -> None:
    steps = sorted({run.config.train.steps for run in planned.runs})
    print(
        f'settings: {len(planned.settings)}, seeds: {planned.config.sweep.seeds}, runs: {len(planned.runs)}, of which done: '
        f'{len(planned.runs) - len(left)}, steps of a run: {" or ".join(f"{n:,}" for n in steps)}',
        flush=True,
    )


def _check(planned: Plan, left: list[Run]) -> None:
    """Refuse settings that do not work with the devices or the data; see ``worker.check_devices``."""
    configs = [
        (setting.name, sampler.config.to_tree())
        for setting in planned.settings
        for run, sampler in setting.runs
        if run in left
    ]
    for reason in in_a_process({'task': 'check', 'configs': configs}).values():
        raise UserError(reason)


def _write_results(planned: Plan, folder: epath.Path, failures: Mapping[str, str]) -> results.Results:
    found = results.collect(planned, folder, failures)
    write_json(folder / 'results.json', results.as_json(found))
    return found


def _spec(run: Run, folder: epath.Path) -> JsonObject:
    samplers = [(sampler.name, sampler.config.to_tree()) for sampler in run.samplers]
    return {'task': 'run', 'name': run.name, 'seed': run.seed, 'samplers': samplers, 'folder': os.fspath(folder)}


def in_a_process(spec: Fields) -> dict[str, str]:
    """Run ``worker.work`` in a process of its own and return its result, or a reason under ``failed`` if there is none.

    This process passes Ctrl-C on only once, because a second one would interrupt the worker before it has saved. The standard
    input of the worker is a pipe that closes when this process ends for any reason.

    Raises:
      SystemExit: after SIGTERM or SIGINT, when the process has ended.
    """
    root = str(pathlib.Path(jaxgen.__path__[0]).parent)
    env = os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, [root, os.environ.get('PYTHONPATH')]))}
    with tempfile.TemporaryDirectory(prefix='jaxgen-sweep-') as folder:
        spec_path, result_path = (pathlib.Path(folder, name) for name in ('spec.json', 'result.json'))
        spec_path.write_text(json.dumps(spec))
        command = [sys.executable, '-m', 'jaxgen.apps.sweep.worker', str(spec_path), str(result_path)]
        with progress.hidden(), StopSignals() as signals:  # the process shows what it does
            process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, start_new_session=True)
            try:
                _wait(process, signals)
            finally:
                process.kill()
                process.wait()
                if process.stdin is not None:
                    process.stdin.close()
        if signals.received is not None:
            raise SystemExit(128 + signals.received)
        if result_path.exists():
            return json.loads(result_path.read_text())
    if process.returncode < 0:
        return {'failed': f'its process was killed by {signal.Signals(-process.returncode).name}'}
    return {'failed': f'its process ended with {process.returncode}'}


def _wait(process: subprocess.Popen, signals: StopSignals) -> None:
    """Wait until a process has ended, and pass the first signal that arrives on to it."""
    passed_on = False
    while True:
        try:
            process.wait(POLL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            if signals.received is not None and not passed_on:
                process.send_signal(signals.received)
                passed_on = True
