"""One run of a sweep in its own process, which has the devices to itself and can fail without ending the sweep.

``python -m jaxgen.apps.sweep.worker SPEC.json RESULT.json``: ``runs.py`` writes the first file and reads the second.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from logging import CRITICAL, getLogger

import jax
from absl import logging
from clu import parameter_overview
from etils import epath

from jaxgen.apps import train as training
from jaxgen.apps.config import Config
from jaxgen.apps.devices import set_up
from jaxgen.apps.evaluate.evaluator import make_evaluator, summary
from jaxgen.apps.evaluate.generated import STREAM, generated_set, requested_labels
from jaxgen.apps.guides import without_guide
from jaxgen.apps.restore import restore
from jaxgen.apps.rules import validate, validate_devices
from jaxgen.apps.sweep.plan import DIVERGED, RESULTS, SECTIONS, Run, SamplerConfig, result
from jaxgen.errors import UserError, check
from jaxgen.io import grids, images
from jaxgen.io.files import write_atomically, write_json
from jaxgen.metrics.evaluator import Evaluator
from jaxgen.runtime import progress
from jaxgen.runtime.mesh import make_mesh
from jaxgen.runtime.plugins import import_plugins
from jaxgen.training import DivergedError
from jaxgen.types import Fields, JsonObject

SHOWN = 40  # images of each sampler on the page


def work(spec: Fields) -> JsonObject:
    """Do the task of a spec.

    Args:
      spec: the ``task``: ``check`` with ``configs``, or ``run`` with the attributes of a ``Run`` and a ``folder``.

    Returns:
      An empty object for success; ``refused`` with an error that the user can fix, or ``failed`` with any other error.
    """
    try:
        if spec['task'] == 'check':
            check_devices([(name, _config(tree)) for name, tree in spec['configs']])
        else:
            samplers = [SamplerConfig(name, _config(tree)) for name, tree in spec['samplers']]
            train_and_evaluate(Run(spec['name'], spec['seed'], samplers), epath.Path(spec['folder']))
    except UserError as e:
        return {'refused': str(e)}
    except OSError as e:
        return {'refused': f'{e.filename or "a file"}: {e.strerror or e}; fix that and run the same command again'}
    except Exception as e:  # the other runs go on after any error
        traceback.print_exc()
        return {'failed': f'{type(e).__name__}: {str(e).strip()[:300]}'.splitlines()[0]}
    return {}


def _config(tree: Fields) -> Config:
    import_plugins(tree.get('plugins') or ())
    return Config.from_tree(tree, SECTIONS)


def check_devices(settings: Sequence[tuple[str, Config]]) -> None:
    """Refuse batches that do not divide over the devices, and a metric that cannot be computed for the data.

    This also fills the cache with the features of the reference and the weights of the network that computes them.

    Args:
      settings: the name and the config of each setting.

    Raises:
      UserError: naming the setting and the field.
    """
    for number, (name, config) in enumerate(settings):
        try:
            if number == 0:
                set_up(config)
            else:
                validate_devices(config, jax.device_count())
        except UserError as e:
            raise UserError(f'config.sweep.settings, the setting {name}: {e}') from e
    config = settings[0][1]
    evaluator, metric = _evaluator(config), config.sweep.metric
    evaluator.reference_features()
    check(
        not metric.startswith('judge.') or evaluator.protocol(evaluator.reference)['judge'] is not None,
        f'config.sweep.metric={metric} needs a classifier, and jaxgen has none for these images: pass '
        f'--config.evaluation.judge=FILE.safetensors, or choose another metric',
    )


def _evaluator(config: Config) -> Evaluator:
    return make_evaluator(config, make_mesh(config.mesh.fsdp))


def train_and_evaluate(run: Run, folder: epath.Path) -> None:
    """Train or resume to the last step, and evaluate the samplers that have no result yet.

    A loss that is not finite is recorded in ``DIVERGED`` and ends the run without an error.

    Args:
      run: the run.
      folder: the folder of the sweep.

    Raises:
      UserError: as training and evaluation do.
    """
    workdir = folder / run.folder
    validate(run.config)
    set_up(run.config)
    try:
        config = without_guide(run.config)
        if config.finetune.base is None:
            training.train(config, workdir)
        else:
            training.finetune(config, workdir)
    except DivergedError as e:
        print(e, flush=True)
        write_json(workdir / DIVERGED, {'step': e.step, 'reason': f'the loss is not finite at step {e.step}'})
        return
    evaluator = _evaluator(run.config)
    for sampler in run.samplers:
        if result(run, sampler, folder) is None:
            _evaluate(run, sampler, workdir, evaluator)


def _evaluate(run: Run, sampler: SamplerConfig, workdir: epath.Path, evaluator: Evaluator) -> None:
    """Write a grid of the first images of a sampler, and then its metrics together with its config."""
    config = sampler.config
    trained = restore(config, workdir)
    pipeline = trained.sampler(config.evaluation.seed, STREAM)
    found = evaluator(generated_set(trained, pipeline, config.evaluation.num))
    shown, _ = pipeline(trained.model, SHOWN)
    title = ', '.join(filter(None, [run.name, sampler.name, f'seed {run.seed}']))
    labels = requested_labels(trained, pipeline, SHOWN)
    picture = images.png(grids.by_class(shown, labels, trained.class_names, title))
    write_atomically(workdir / 'samples' / f'sweep-{sampler.stem}.png', picture)
    networks = trained.method.networks(trained.model)
    found['parameters'] = {part: int(parameter_overview.count_parameters(params)) for part, params in networks.items()}
    found['config'] = config.to_tree()
    write_json(workdir / RESULTS / f'{sampler.stem}.json', found)
    print(summary(found | {'warnings': []}), flush=True)  # the page shows the warnings, which all runs share


def _end_with_the_sweep() -> None:
    """Wait until the pipe from the sweep closes, which also happens if the sweep is killed; then save and end."""
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


def main(argv: list[str]) -> int:
    """Do the task in the file of the first argument, write the result to the second file, and return the exit code."""
    logging.set_verbosity(logging.FATAL)
    getLogger('asyncio').setLevel(CRITICAL)  # as in jaxgen.cli.main
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    try:
        with progress.shown(), progress.Stage('starting', announces=False, sums_up=False):
            found = work(json.loads(pathlib.Path(argv[1]).read_text()))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    pathlib.Path(argv[2]).write_text(json.dumps(found))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
