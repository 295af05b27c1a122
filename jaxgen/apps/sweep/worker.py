"""One run of a sweep in a process of its own: it has the devices to itself, and takes no other run along when it fails.

``python -m jaxgen.apps.sweep.worker SPEC.json RESULT.json``: ``runs.py`` writes the one and reads the other.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from logging import CRITICAL, getLogger
from typing import Any

import jax
from absl import logging
from clu import parameter_overview
from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps import stored_config
from jaxgen.apps.config import validate_devices
from jaxgen.apps.devices import set_up
from jaxgen.apps.evaluate.evaluator import Evaluator, summary
from jaxgen.apps.evaluate.generated import STREAM, generated_set
from jaxgen.apps.restore import restore
from jaxgen.apps.sweep.plan import DIVERGED, JUDGED, Drawing, result
from jaxgen.apps.sweep.plan import Run as Planned
from jaxgen.cli import modes
from jaxgen.errors import UserError, check, names
from jaxgen.io import images
from jaxgen.io.files import write_atomically, write_json
from jaxgen.runtime.mesh import make_mesh
from jaxgen.training import DivergedError

SHOWN, COLUMNS = 40, 5  # images of each drawing on the page, narrow enough to stand beside each other


def work(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Does what a spec says: nothing comes back, or under ``refused`` what the user can mend, under ``failed`` the rest."""
    try:
        if spec['task'] == 'check':
            check_devices([(name, stored_config.from_json(tree)) for name, tree in spec['configs']])
        else:
            drawings = [Drawing(name, stored_config.from_json(tree)) for name, tree in spec['drawings']]
            run(Planned(spec['name'], spec['seed'], drawings), epath.Path(spec['folder']))
    except UserError as e:
        return {'refused': str(e)}
    except OSError as e:
        return {'refused': f'{e.filename or "a file"}: {e.strerror or e}; mend that and run the same command again'}
    except Exception as e:  # whatever it is, the other runs go on
        traceback.print_exc()
        return {'failed': f'{type(e).__name__}: {str(e).strip()[:300]}'.splitlines()[0]}
    return {}


def check_devices(settings: Sequence[tuple[str, ConfigDict]]) -> None:
    """Refuses what only the devices and the data can tell: batches that do not divide, a figure that cannot be made.

    The features of the reference, and the weights of the network that sees them, are then in the cache.

    Raises:
      UserError: naming the setting and the field.
    """
    for number, (name, config) in enumerate(settings):
        try:
            if number:
                validate_devices(config, jax.device_count())
            else:
                set_up(config)
        except UserError as e:
            raise UserError(f'config.sweep, the setting {name}: {e}') from e
    config = settings[0][1]
    evaluator, figure = _evaluator(config), config.sweeps.figure
    check(
        not figure.startswith('judge.') or evaluator.protocol(evaluator.reference)['judge'] is not None,
        f'config.sweeps.figure={figure} needs a judge, and jaxgen has none for these images: pass '
        f'--config.evaluation.judge=FILE.safetensors, or take another figure',
    )


def _evaluator(config: ConfigDict) -> Evaluator:
    return Evaluator(config, make_mesh(config.mesh.fsdp), names(config.evaluation.metrics))


def run(planned: Planned, folder: epath.Path) -> None:
    """Trains to the budget, from wherever the run was left, and judges each drawing that was not judged yet.

    Raises:
      UserError: as training and evaluation; a loss that is not finite is noted in ``DIVERGED`` and ends the run well.
    """
    workdir = folder / planned.folder
    try:
        modes.run('finetune' if planned.config.finetune.base else 'train', planned.config, workdir)
    except DivergedError as e:
        print(e, flush=True)
        write_json(workdir / DIVERGED, {'step': e.step, 'reason': f'the loss is not finite at step {e.step}'})
        return
    evaluator = _evaluator(planned.config)
    for drawing in planned.drawings:
        if not result(planned, drawing, folder):
            _judge(drawing, workdir, evaluator)


def _judge(drawing: Drawing, workdir: epath.Path, evaluator: Evaluator) -> None:
    """Writes the figures with the config that they were asked for by, after a grid of the first images."""
    config = drawing.config
    trained = restore(config, workdir)
    sampler = trained.sampler(config.evaluation.seed, STREAM)
    found = evaluator(generated_set(trained, sampler, config.evaluation.num))
    shown, _ = sampler(trained.model, SHOWN)
    picture = images.png(images.grid(shown, columns=COLUMNS))
    write_atomically(workdir / 'samples' / f'sweep-{drawing.stem}.png', picture)
    networks = trained.family.networks(trained.model)
    found['parameters'] = {part: int(parameter_overview.count_parameters(params)) for part, params in networks.items()}
    found['config'] = json.loads(config.to_json())
    write_json(workdir / JUDGED / f'{drawing.stem}.json', found)
    print(summary(found | {'warnings': []}), flush=True)  # they are the same for all runs, and stand on the page


def _end_with_the_sweep() -> None:
    """Waits until the sweep's end of the pipe is closed, which it also is when the sweep is killed; then saves and ends."""
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


def main(argv: list[str]) -> int:
    logging.set_verbosity(logging.FATAL)
    getLogger('asyncio').setLevel(CRITICAL)  # as in main.py
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    try:
        found = work(json.loads(pathlib.Path(argv[1]).read_text()))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    pathlib.Path(argv[2]).write_text(json.dumps(found))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
