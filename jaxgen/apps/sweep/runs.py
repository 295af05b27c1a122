"""``--mode=sweep``: trains and judges what is planned, one run after another, and goes on where it was stopped."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

import jaxgen
from jaxgen.apps.sweep import results
from jaxgen.apps.sweep.plan import FOLDER, Plan, Run, is_done, plan, require_own
from jaxgen.errors import UserError
from jaxgen.io.files import write_json
from jaxgen.training.preemption import StopSignals, exclusive

PATIENCE = 0.05  # seconds between two looks at a signal


def sweep(config: ConfigDict, workdir: epath.Path) -> results.Results:
    """Does what is left of the sweep that ``config.sweep`` and ``config.sweeps`` describe.

    ``workdir/sweep`` has a workdir for each run, and ``results.json``, which is written after each of them. A run that
    ends otherwise than in its budget or a loss that is not finite is noted, and tried again by the next sweep.

    Raises:
      UserError: if anything of it cannot work, before the first run starts; if a run cannot go on for a reason that is
        not its own, such as a full disk.
      SystemExit: with 128 + the signal's number after SIGTERM or SIGINT, when the current run is saved.
    """
    planned = plan(config)
    folder = workdir / FOLDER
    for run in planned.runs:
        require_own(run, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        left = [run for run in planned.runs if not is_done(run, folder)]
        steps = sorted({run.config.train.steps for run in planned.runs})
        print(
            f'settings: {len(planned.rows)}, seeds: {config.sweeps.seeds}, runs: {len(planned.runs)}, of which done: '
            f'{len(planned.runs) - len(left)}, steps of a run: {" or ".join(f"{n:,}" for n in steps)}',
            flush=True,
        )
        if left:
            configs = [
                (row.name, _json(drawing.config)) for row in planned.rows for run, drawing in row.runs if run in left
            ]
            for reason in in_a_process({'task': 'check', 'configs': configs}).values():
                raise UserError(reason)
        failures: dict[str, str] = {}
        found = _noted(planned, folder, failures)
        for number, run in enumerate(left, 1):
            print(f'\nrun {number} of {len(left)}: {run.folder}', flush=True)
            ended = in_a_process(_spec(run, folder))
            if 'refused' in ended:
                raise UserError(f'{folder / run.folder}: {ended["refused"]}')
            if 'failed' in ended:
                failures[run.folder] = ended['failed']
            found = _noted(planned, folder, failures)
    return found


def _noted(planned: Plan, folder: epath.Path, failures: Mapping[str, str]) -> results.Results:
    found = results.collect(planned, folder, failures)
    write_json(folder / 'results.json', results.as_json(found))
    return found


def _json(config: ConfigDict) -> dict[str, Any]:
    return json.loads(config.to_json())


def _spec(run: Run, folder: epath.Path) -> dict[str, Any]:
    drawings = [(drawing.name, _json(drawing.config)) for drawing in run.drawings]
    return {'task': 'run', 'name': run.name, 'seed': run.seed, 'drawings': drawings, 'folder': os.fspath(folder)}


def in_a_process(spec: Mapping[str, Any]) -> dict[str, str]:
    """What ``worker.work`` makes of a spec; a process that is killed, or ends without a word, has ``failed``.

    Ctrl-C does not reach it by itself, but once, through this process: a second one would interrupt it
    before it has saved. Its standard input is a pipe that closes when this process ends, however it ends.

    Raises:
      SystemExit: after SIGTERM or SIGINT, when it has ended.
    """
    root = str(pathlib.Path(jaxgen.__path__[0]).parent)
    env = os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, [root, os.environ.get('PYTHONPATH')]))}
    with tempfile.TemporaryDirectory(prefix='jaxgen-sweep-') as folder:
        paths = [pathlib.Path(folder, name) for name in ('spec.json', 'result.json')]
        paths[0].write_text(json.dumps(spec))
        command = [sys.executable, '-m', 'jaxgen.apps.sweep.worker', *map(str, paths)]
        with StopSignals() as signals:
            process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, start_new_session=True)
            try:
                _wait(process, signals)
            finally:
                process.kill()
                process.wait()
                process.stdin.close()
        if signals.received:
            raise SystemExit(128 + signals.received)
        if paths[1].exists():
            return json.loads(paths[1].read_text())
    if process.returncode < 0:
        return {'failed': f'its process was killed by {signal.Signals(-process.returncode).name}'}
    return {'failed': f'its process ended with {process.returncode}'}


def _wait(process: subprocess.Popen, signals: StopSignals) -> None:
    """Until it has ended; the first signal that comes is passed on."""
    passed_on = False
    while True:
        try:
            process.wait(PATIENCE)
            return
        except subprocess.TimeoutExpired:
            if signals.received and not passed_on:
                process.send_signal(signals.received)
                passed_on = True
