"""Train a model within a given time on one accelerator, whose speed is measured first.

The learning rate decays to the end of the run, so the number of steps must be known before the first of them: the training
step runs for some seconds on a copy of the model, then the run begins.
"""

from __future__ import annotations

import dataclasses
import time

import jax
from etils import epath

from jaxgen.apps.config import Config
from jaxgen.apps.flagship.results import write_results
from jaxgen.apps.restore import build
from jaxgen.apps.rules import validate
from jaxgen.apps.stored_config import read_run
from jaxgen.apps.train import make_trainer
from jaxgen.data import Dataset
from jaxgen.errors import check
from jaxgen.runtime.mesh import batch_sharding, make_mesh
from jaxgen.runtime.random import root_key
from jaxgen.training.batches import put_on_all_devices, stacked_indices
from jaxgen.training.state import start_on_mesh
from jaxgen.training.step import make_dispatch


@dataclasses.dataclass(frozen=True)
class Budget:
    """The time and the number of samples of a flagship run.

    Attributes:
      minutes: time from ``start`` to the end of training, compilation included; sampling comes after it.
      start: the value of ``time.monotonic`` when the process began.
      measured_seconds: seconds for which the training step runs to measure its rate.
      samples: number of images to sample after training.
    """

    minutes: float
    start: float
    measured_seconds: float = 20.0
    samples: int = 20_000

    @property
    def seconds_left(self) -> float:
        """The seconds until training must end."""
        return self.start + 60 * self.minutes - time.monotonic()


def flagship(config: Config, workdir: epath.Path, dataset: Dataset, budget: Budget) -> None:
    """Train within the budget, and write ``flagship/`` into the run directory; see ``write_results``.

    If the run directory already has a run, it is trained to its end, with the number of steps that was chosen when it began.

    Args:
      config: the config of the run, with the section ``evaluation``.
      workdir: the run directory.
      dataset: the training images.
      budget: the time and the number of samples.

    Raises:
      UserError: if the config cannot work, or the budget does not suffice for one dispatch.
    """
    stored = read_run(workdir)
    steps = (
        stored['train']['steps']
        if stored and 'steps' in stored.get('train', {})
        else plan_steps(config, dataset, budget)
    )
    config = config.replace({'train.steps': steps, 'checkpoint.every': steps})
    validate(config)
    method, _ = build(config, workdir)
    start = time.monotonic()
    make_trainer(config, method, dataset, workdir).train()
    seconds = time.monotonic() - start
    write_results(config, workdir, budget.samples, {'training_seconds': seconds, 'budget_minutes': budget.minutes})


def plan_steps(config: Config, dataset: Dataset, budget: Budget) -> int:
    """Return how many steps fit into the budget, a multiple of ``config.train.steps_per_dispatch``.

    The run compiles its step once more, since the decay of the learning rate is part of the program; that time is
    reserved.

    Args:
      config: the config of the run.
      dataset: the training images.
      budget: the time that is available.

    Raises:
      UserError: if no step fits.
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


def measure_rate(config: Config, dataset: Dataset, seconds: float) -> tuple[float, float]:
    """Measure the training step on the whole data set in the memory of the device.

    Args:
      config: the config of the run.
      dataset: the training images.
      seconds: minimum time to measure; at least one dispatch is run.

    Returns:
      The seconds until the first dispatch was done, and the steps per second of the following ones.
    """
    begin = time.monotonic()
    method, _ = build(config, epath.Path('.'))
    mesh, key = make_mesh(config.mesh.fsdp), root_key(config.seed, config.train.prng)
    template, state = start_on_mesh(method, key, mesh)
    dispatch = make_dispatch(method, key, mesh, template, random_flip=config.data.random_flip, resident=True)
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
