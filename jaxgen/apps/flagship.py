"""Train a flagship model in a few minutes on one accelerator, whose speed is measured first.

python -m jaxgen.apps.flagship --config=configs/ddpm_cifar.py:flagship --minutes=8 --workdir=runs/flagship

The learning rate decays to the end of the budget, so the number of steps has to be known before the first of them: the
training step runs for 20 seconds on a copy of the model, then the run begins. ``--pack=FOLDER`` writes the data set as .npz
files for ``--data=FOLDER`` on a machine without TFDS.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import sys
import time
from collections.abc import Iterator

import jax
import numpy as np
from absl import flags, logging
from etils import epath
from ml_collections import ConfigDict, config_flags

from jaxgen.apps import from_config, weights
from jaxgen.apps.config import validate
from jaxgen.apps.devices import set_up
from jaxgen.apps.restore import build, restore
from jaxgen.data import Dataset, load
from jaxgen.errors import UserError, check, names
from jaxgen.io import images
from jaxgen.io.files import absolute, write_atomically, write_json
from jaxgen.metrics.image_sets import open_npz_files
from jaxgen.runtime.mesh import batch_sharding, make_mesh
from jaxgen.runtime.random import root_key, stream
from jaxgen.training.batches import put_on_all_devices, stacked_indices
from jaxgen.training.grids import LARGEST_GRID
from jaxgen.training.log import read_metrics
from jaxgen.training.state import start_on_mesh
from jaxgen.training.step import make_dispatch

CONFIG = 'configs/ddpm_cifar.py:flagship'
IMAGES_PER_FILE = 4000  # 32x32 in colour are 12 MB
PACKED_PER_FILE = 10_000


@dataclasses.dataclass(frozen=True)
class Budget:
    """The time and the number of samples that a flagship is given.

    Attributes:
      minutes: from ``start`` to the end of training, compilation included; sampling comes after.
      start: when the process began, as ``time.monotonic`` has it.
      measured_seconds: for which the training step is run to measure its rate.
      samples: images to generate when it is trained.
    """

    minutes: float
    start: float
    measured_seconds: float = 20.0
    samples: int = 20_000

    @property
    def seconds_left(self) -> float:
        return self.start + 60 * self.minutes - time.monotonic()


def flagship(config: ConfigDict, workdir: epath.Path, dataset: Dataset, budget: Budget) -> None:
    """Train within the budget, and write ``flagship/`` into the workdir: weights, samples, loss curve, ``report.json``.

    A workdir that holds a run already is trained to its end: its number of steps was decided when it began.

    Raises:
      UserError: if the config cannot work, or the budget does not suffice for one dispatch.
    """
    stored = workdir / 'config.json'
    if stored.exists():
        config.train.steps = json.loads(stored.read_text())['train']['steps']
    else:
        config.train.steps = plan_steps(config, dataset, budget)
    config.checkpoint.every = config.train.steps
    validate(config)
    family, _ = build(config, workdir)
    start = time.monotonic()
    from_config.trainer(config, family, dataset, workdir).train()
    seconds = time.monotonic() - start
    write_results(config, workdir, budget.samples, {'training_seconds': seconds, 'budget_minutes': budget.minutes})


def plan_steps(config: ConfigDict, dataset: Dataset, budget: Budget) -> int:
    """Return how many steps fit into the budget, a multiple of ``config.train.steps_per_dispatch``.

    The run compiles its step once more, since the decay of the learning rate is part of the program; that time is
    reserved.

    Raises:
      UserError: if none fits.
    """
    print(f'measuring the training step for {budget.measured_seconds:.0f} s', flush=True)
    compile_seconds, rate = measure_rate(config, dataset, budget.measured_seconds)
    k = config.train.steps_per_dispatch
    steps = int(rate * (budget.seconds_left - compile_seconds)) // k * k
    check(
        steps >= k,
        f'--minutes={budget.minutes:g} is too short: compiling took {compile_seconds:.0f} s, and training would start when '
        f'the time is over; allow at least {(60 * budget.minutes - budget.seconds_left + compile_seconds) / 60 + 1:.0f}',
    )
    images_per_second = rate * config.data.batch_size
    print(f'{rate:.2f} steps/s, {images_per_second:,.0f} images/s: {steps:,} steps fit into the budget', flush=True)
    return steps


def measure_rate(config: ConfigDict, dataset: Dataset, seconds: float) -> tuple[float, float]:
    """Return the seconds until the first dispatch was done, and the steps a second of those that follow."""
    begin = time.monotonic()
    family, _ = build(config, epath.Path('.'))
    mesh, key = make_mesh(config.mesh.fsdp), root_key(config.seed, config.train.prng)
    template, state = start_on_mesh(family, key, mesh)
    dispatch = make_dispatch(family, key, mesh, template, random_flip=config.data.random_flip, resident=True)
    on_device, k = put_on_all_devices(dataset, mesh), config.train.steps_per_dispatch
    indices = stacked_indices(len(dataset.images), config.seed, range(k), config.data.batch_size)
    batches = jax.device_put(indices, batch_sharding(mesh, axis=1))

    state, done = dispatch(state, batches, on_device)
    done.block_until_ready()
    first = time.monotonic()
    dispatches = 0
    while dispatches == 0 or time.monotonic() - first < seconds:
        state, done = dispatch(state, batches, on_device)
        done.block_until_ready()
        dispatches += 1
    return first - begin, dispatches * k / (time.monotonic() - first)


def write_results(config: ConfigDict, workdir: epath.Path, samples: int, facts: dict[str, float]) -> None:
    """Write ``flagship/weights/`` (a workdir of its own), ``generated/*.npz``, ``loss.png`` and ``report.json``."""
    from jaxgen.apps.reports import plots

    trained = restore(config, workdir)
    folder = workdir / 'flagship'
    exported = pathlib.Path(folder / 'weights')
    exported.mkdir(parents=True, exist_ok=True)
    variables = trained.family.weights(
        trained.model, stream(root_key(config.seed, config.train.prng), 'statistics'), config.sample.ema
    )
    weights.write(trained, jax.device_get(variables), exported)

    rows = read_metrics(workdir / 'metrics.jsonl')
    points = {'loss': [(row['step'], row['loss']) for row in rows]}
    figure = plots.line_chart(points, 'step', 'loss')
    write_atomically(folder / 'loss.png', plots.png(figure))

    start = time.monotonic()
    sampler = trained.sampler(config.evaluation.seed, 'evaluation')
    for number, (piece, labels) in enumerate(_files(sampler.batches(trained.model, samples), IMAGES_PER_FILE)):
        named = {'labels': labels, 'class_names': np.array(trained.class_names)}
        write_atomically(folder / 'generated' / f'{number:02}.npz', images.npz(images=piece, **named))
        if number == 0:
            write_atomically(folder / 'generated.png', images.png(images.grid(piece[:LARGEST_GRID])))
    device = jax.devices()[0]
    report = {
        'device': device.device_kind,
        'devices': jax.device_count(),
        'jax': jax.__version__,
        'parameters': sum(x.size for x in jax.tree.leaves(trained.family.networks(trained.model))),
        'steps': trained.step,
        'images': trained.step * config.data.batch_size,
        'images_per_sec': float(np.median([row['images_per_sec'] for row in rows])),
        'sampling_seconds': time.monotonic() - start,
        'samples': samples,
        **facts,
    }
    write_json(folder / 'report.json', report)
    print(json.dumps(report))
    print(
        f'all of it: {folder}; FID, here or elsewhere: python main.py --config={folder}/weights/config.json --mode=evaluate '
        f'--config.evaluation.generated={folder}/generated --config.evaluation.num={samples}'
    )


def _files(batches: Iterator[tuple[np.ndarray, np.ndarray]], size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield images and labels in pieces of ``size``, the last one perhaps shorter."""
    held: list[tuple[np.ndarray, np.ndarray]] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += len(batch[0])
        while count >= size:
            whole = [np.concatenate(parts) for parts in zip(*held, strict=True)]
            yield whole[0][:size], whole[1][:size]
            held = [(whole[0][size:], whole[1][size:])]
            count -= size
    if count:
        yield tuple(np.concatenate(parts) for parts in zip(*held, strict=True))


def pack(dataset: Dataset, folder: pathlib.Path) -> None:
    """Write a data set as .npz files, for :func:`unpack`."""
    for number, start in enumerate(range(0, len(dataset.images), PACKED_PER_FILE)):
        part = slice(start, start + PACKED_PER_FILE)
        arrays = {'images': dataset.images[part], 'labels': dataset.labels[part]}
        named = images.npz(**arrays, class_names=np.array(dataset.class_names))
        write_atomically(epath.Path(folder) / f'{number:02}.npz', named)


def unpack(folder: pathlib.Path, class_names: tuple[str, ...]) -> Dataset:
    """Return the data set of a folder that :func:`pack` filled.

    Raises:
      UserError: if it holds no .npz files, or other classes.
    """
    arrays, labels = open_npz_files(folder, '--data', class_names)
    check(labels is not None, f'--data={folder} holds images without labels: write it with --pack')
    return Dataset(arrays, labels.astype(np.int32), class_names)


def _parsed(argv: list[str]) -> flags.FlagValues:
    """Return the values of the command line's flags; they are not the global ones, which are those of main.py."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        'config', CONFIG, 'A file in configs/, with its variant.', flag_values=values, sys_argv=argv
    )
    define = {'flag_values': values}
    flags.DEFINE_float('minutes', 8.0, 'From the start to the end of training.', lower_bound=0.0, **define)
    flags.DEFINE_string('workdir', 'runs/flagship', 'Where the run lives.', **define)
    flags.DEFINE_string('data', None, 'A folder that --pack wrote, instead of the data set of the config.', **define)
    flags.DEFINE_string('pack', None, 'Write the data set of the config into this folder, and end.', **define)
    flags.DEFINE_integer('samples', 20_000, 'Images to generate at the end.', lower_bound=1, **define)
    values(argv)
    return values


def main(argv: list[str]) -> int:
    """Run the command line, and return its exit code."""
    start = time.monotonic()
    logging.set_verbosity(logging.FATAL)
    try:
        values = _parsed(argv)
        _run(values, start)
    except (UserError, flags.Error) as e:
        print(f'jaxgen: {e}', file=sys.stderr)
        return 2
    return 0


def _run(values: flags.FlagValues, start: float) -> None:
    config = values.config
    validate(config)
    d = config.data
    load_data = functools.partial(load, d.name, 'train', names(d.classes), d.max_examples, d.image_size, d.crop)
    if values.pack:
        pack(load_data(), pathlib.Path(values.pack))
        return
    set_up(config)
    workdir = absolute(values.workdir)
    _, labelled = build(config, workdir)
    dataset = unpack(pathlib.Path(values.data), labelled) if values.data else load_data()
    flagship(config, workdir, dataset, Budget(values.minutes, start, samples=values.samples))


if __name__ == '__main__':
    sys.exit(main(sys.argv))
