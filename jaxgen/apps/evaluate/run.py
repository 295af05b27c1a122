"""The mode ``evaluate``."""

from __future__ import annotations

import json
import sys

from etils import epath

from jaxgen.apps.config import Config
from jaxgen.apps.evaluate.evaluator import make_evaluator, stored_set, summary
from jaxgen.apps.evaluate.generated import STREAM, generated_set
from jaxgen.apps.evaluate.results import titled, write
from jaxgen.apps.restore import restore
from jaxgen.io.files import write_atomically, write_json
from jaxgen.io.names import safe_name
from jaxgen.io.run_directory import EVALUATION
from jaxgen.runtime.mesh import make_mesh
from jaxgen.types import JsonObject


def run(config: Config, workdir: epath.Path) -> None:
    """Evaluate a model or the set ``config.evaluation.generated``, and write ``evaluation/<step or set>.json``.

    ``safe_name`` turns the set into the name of a file. If stdout is not a terminal, the last line that is printed is the content
    of the file, for programs to read.
    """
    options = config.evaluation
    if options.ema_lengths is not None and options.generated is None:
        _evaluate_ema_lengths(config, workdir)
        return
    if options.generated is not None:
        generated = stored_set(config)
        name = safe_name(options.generated)
    else:
        trained = restore(config, workdir)
        generated = generated_set(trained, trained.sampler(options.seed, STREAM), options.num)
        name = str(trained.step)
    result = make_evaluator(config, make_mesh(config.mesh.fsdp))(generated)
    path = workdir / EVALUATION / f'{name}.json'
    write(result, path)
    print(summary(result))
    print(f'all metrics and their protocol: {path}')
    _print_for_programs(result)


def _print_for_programs(result: JsonObject | list[JsonObject]) -> None:
    """Print a result as one line of JSON, unless a person reads it on a terminal."""
    if not sys.stdout.isatty():
        print(json.dumps(result))


def _evaluate_ema_lengths(config: Config, workdir: epath.Path) -> None:
    """Write ``evaluation/<step>_ema_lengths.json`` and a plot of it; print the content of the file as ``run`` does."""
    from jaxgen.apps.evaluate import ema_lengths  # imports matplotlib, which takes a second

    step, found = ema_lengths.evaluate_lengths(config, workdir)
    path = workdir / EVALUATION / f'{step}_ema_lengths'
    write_json(f'{path}.json', found)
    write_atomically(f'{path}.png', ema_lengths.plot(found, config.optimizer.ema_decay or 0.0))
    best = min(found, key=lambda row: row['fid'])
    distance = f'{titled("FID", best["protocol"])} {best["fid"]:.4f}'
    print(f'best: {distance} with --config.sample.ema_length={best["ema_length"]:g}; all: {path}.json, {path}.png')
    _print_for_programs(found)
