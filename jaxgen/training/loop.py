"""The training loop: batches in, compiled dispatches, and at intervals a row of the log, a grid, a checkpoint."""

from __future__ import annotations

import contextlib
import functools
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import numpy as np
from clu import parameter_overview
from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps.same_run import require_same, run_fields
from jaxgen.data import Dataset, pipeline
from jaxgen.errors import UserError
from jaxgen.io import images
from jaxgen.io.files import write_atomically, write_json
from jaxgen.methods.base import Method
from jaxgen.runtime import memory
from jaxgen.runtime.mesh import batch_sharding, make_mesh, on_host, on_mesh, replicated
from jaxgen.runtime.random import root_key
from jaxgen.training import metrics
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.preemption import Agreement, StopSignals, exclusive
from jaxgen.training.profile import Profile
from jaxgen.training.sampling import Sampler
from jaxgen.training.snapshots import Snapshots
from jaxgen.training.step import TrainState, initial, make_dispatch, state_template

LARGEST_GRID = 100


class DivergedError(UserError):
    """The loss of a ``step`` was not finite."""

    def __init__(self, sentence: str, step: int):
        super().__init__(sentence)
        self.step = step


class Evaluation(Protocol):
    """Judges the images that a sampler draws from the model of a step."""

    def __call__(
        self, sampler: Sampler, model: Any, step: int, tick: Callable[[], None]
    ) -> tuple[dict[str, float], bool]:
        """The figures, and whether this step is the best so far; calls ``tick`` often, which may raise."""

    def has(self, step: int) -> bool:
        """Whether a step has been judged."""


def train(
    config: ConfigDict,
    method: Method,
    dataset: Dataset,
    workdir: epath.Path,
    evaluation: Evaluation | None = None,
    on_save: Callable[[Any], None] | None = None,
) -> None:
    """Trains to ``config.train.steps``, from the newest checkpoint of ``workdir`` if it has one.

    With an ``evaluation`` the step that it calls the best so far is kept in ``workdir/best``. ``on_save`` gets the model
    before each checkpoint is written.

    Raises:
      UserError: if the config does not fit the workdir's checkpoints, another trainer holds the workdir, or, a
        DivergedError, the loss is not finite.
      SystemExit: with 128 + the signal's number after SIGTERM or SIGINT, when all is saved.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with exclusive(workdir):
        Run(config, method, dataset, workdir, evaluation, on_save).run()


class Run:
    """One process's share of a training run, between its start (or resumption) and its end."""

    def __init__(
        self,
        config: ConfigDict,
        method: Method,
        dataset: Dataset,
        workdir: epath.Path,
        evaluation: Evaluation | None = None,
        on_save: Callable[[Any], None] | None = None,
    ):
        self.config, self.dataset, self.workdir, self.evaluation = config, dataset, workdir, evaluation
        self.method, self.on_save = method, on_save
        self.mesh = make_mesh(config.mesh.fsdp)
        self.key = root_key(config.seed, config.train.prng)
        stored = workdir / 'config.json'
        self.checkpoints = Checkpoints(workdir / 'checkpoints', config.checkpoint.keep, config.checkpoint.keep_every)
        if stored.exists() and self.checkpoints.steps():
            require_same(config, json.loads(stored.read_text()), run_fields(config), str(workdir))

        init = initial(method, self.key)
        template = state_template(init, self.mesh)
        restored = self.checkpoints.restore_newest(template, print)
        if restored:
            self.step, learnt = restored
            self.checkpoints.discard_after(self.step)
        else:
            shardings = jax.tree.map(lambda s: s.sharding, template)
            self.step, learnt = 0, jax.jit(init, out_shardings=shardings)()
        self.state = learnt.replace(model=on_mesh(self.mesh, method.with_frozen(learnt.model)))
        self.template = template.replace(model=jax.tree.map(_shape, self.state.model))
        write_json(stored, json.loads(config.to_json()))

        self.dispatch = make_dispatch(
            method, self.key, config.data.random_flip, self.mesh, self.template, config.train.resident_data
        )
        self.resident = self._on_devices(dataset) if config.train.resident_data else ()
        self.sampler = Sampler(config, method, self.mesh, self.template.model, dataset.class_names)
        self.networks = method.networks(self.template.model)
        self.keeps_averages = bool(method.moving_averages(self.template.model))
        self.snapshots = Snapshots(workdir)
        self.compiled: dict[int, jax.stages.Compiled] = {}

    def run(self) -> None:
        steps = self.config.train.steps
        if self.step >= steps and not self._evaluation_broken_off():
            print(f'{self.workdir} is already at step {self.step}: raise --config.train.steps to train on')
            return
        self._announce()
        self.log = metrics.MetricsFile(self.workdir / 'metrics.jsonl', self.step)
        self.tensorboard = metrics.TensorBoard(self.workdir / 'tensorboard')
        self.progress = metrics.Progress(self.step, steps)
        self.profile = Profile(self.workdir / 'profile', self.config.train.profile, self.step)
        batches = pipeline.Prefetcher(self._dispatches(), self._load)
        try:
            with StopSignals() as signals:
                if self.step == 0 and self._draws_grids():
                    with self.progress.waiting('compiling the sampler, and sampling from the untrained model'):
                        self._draw_grid()
                if self._evaluation_broken_off():
                    self._evaluate(signals)
                self._loop(batches, signals)
        finally:
            batches.close()
            self.profile.close()
            self.progress.close()
            self.tensorboard.close()
            self.checkpoints.close()

    def _loop(self, batches: pipeline.Prefetcher, signals: StopSignals) -> None:
        config = self.config
        clock = Clock(batches, self.step)
        agreed = Agreement(self.mesh)
        done = None
        for start, end, batch in batches:
            self._compile(end - start, batch, clock)
            self.profile.before(start)
            self.state, next_done = self.compiled[end - start](self.state, batch, *self.resident)
            if done is not None:
                done.block_until_ready()  # one dispatch runs, one waits: signals are answered within a step
            done, self.step = next_done, end
            if self.profile.after(done):
                self.progress.say(f'profile of the steps to {end}: {self.workdir}/profile')
            self.progress.advance(end - start)

            if self._due(config.train.log_every, start, end):
                self._log(clock)
            if self._due(config.sample.every, start, end) and self._draws_grids():
                with clock.paused():
                    self._draw_grid()
            if self.evaluation and self._due(config.evaluation.every, start, end):
                with clock.paused():
                    self._evaluate(signals)
            stop = agreed(signals.received)
            if self.keeps_averages and self._due(config.optimizer.ema_snapshot_every, start, end):
                with clock.paused():
                    self.snapshots.save(self.step, on_host(self.mesh, self.method.moving_averages(self.state.model)))
            if self._due(config.checkpoint.every, start, end) or stop:
                with clock.paused():
                    self._save()
            if stop:
                self.checkpoints.wait()
                name = signal.Signals(stop).name
                self.progress.say(f'{name}: step {end} is saved in {self.workdir}; the same command goes on from there')
                raise SystemExit(128 + stop)
        self.checkpoints.wait()
        self._conclude()

    def _dispatches(self) -> Iterator[tuple[int, int]]:
        """The steps of each dispatch, on a grid anchored at step 0 whatever step the run takes up."""
        at, k = self.step, self.config.train.steps_per_dispatch
        while at < self.config.train.steps:
            end = min((at // k + 1) * k, self.config.train.steps)
            yield at, end
            at = end

    def _load(self, steps: tuple[int, int]):
        c = self.config
        part = pipeline.process_part(c.data.batch_size, jax.process_index(), jax.process_count())
        if c.train.resident_data:
            examples = functools.partial(pipeline.example_indices, c.seed)
            num = len(self.dataset.images)
            each = [{'index': examples(s, c.data.batch_size, num)[part].astype(np.int32)} for s in range(*steps)]
        else:
            each = [pipeline.batch(self.dataset, c.seed, s, c.data.batch_size, part) for s in range(*steps)]
        stacked = {name: np.stack([b[name] for b in each]) for name in each[0]}
        sharding = batch_sharding(self.mesh, axis=1)
        return *steps, {name: jax.make_array_from_process_local_data(sharding, x) for name, x in stacked.items()}

    def _on_devices(self, dataset: Dataset) -> tuple[dict[str, jax.Array]]:
        """Return the whole data set, a copy on each device."""
        arrays = {'image': dataset.images, 'label': dataset.labels}
        return (jax.tree.map(lambda x: jax.make_array_from_process_local_data(replicated(self.mesh), x), arrays),)

    def _compile(self, length: int, batch, clock: Clock) -> None:
        if length not in self.compiled:
            with clock.paused(), memory.compiling(), self.progress.waiting('compiling the training step'):
                start = time.perf_counter()
                lowered = self.dispatch.lower(self.template, batch, *self.resident)
                self.compiled[length] = lowered.compile()
                seconds = time.perf_counter() - start
                analysis = lowered.cost_analysis()  # None on accelerators
                work = ''
                if analysis:  # XLA counts a loop's body once
                    gflop = analysis['flops'] / self.config.data.batch_size / 1e9
                    work = f'; it does {gflop:.3g} GFLOP an image'
                self.progress.say(f'compiled the step in {seconds:.0f} s{work}')

    def _log(self, clock: Clock) -> None:
        state = jax.device_get(self.state.replace(model=None))
        self._require_finite()
        steps, seconds, waited = clock.lap(self.step)
        row = {'step': self.step}
        row |= {name: float(total / state.count) for name, total in state.sums.items()}
        row['epoch'] = self.step * self.config.data.batch_size / len(self.dataset.images)
        row['steps_per_sec'] = steps / seconds
        row['images_per_sec'] = row['steps_per_sec'] * self.config.data.batch_size
        row['data_wait'] = waited / seconds
        self.state = self.state.replace(sums=jax.tree.map(lambda x: x * 0, self.state.sums), count=self.state.count * 0)
        self.log.write(row)
        self.tensorboard.write_scalars(self.step, {k: v for k, v in row.items() if k != 'step'})
        self.progress.row(row)

    def _require_finite(self) -> None:
        bad = int(self.state.nonfinite_step)
        if bad >= 0:
            self.checkpoints.wait()
            last = self.checkpoints.steps()
            kept = f'the checkpoint of step {last[-1]} is whole' if last else 'there is no checkpoint yet'
            raise DivergedError(
                f'the loss is not finite at step {bad} ({kept}): lower config.optimizer.learning_rate, clip '
                f'with config.optimizer.grad_clip_norm, or compute in float32',
                bad,
            )

    def _save(self) -> None:
        self._require_finite()
        if self.on_save:
            self.on_save(self.state.model)
        self.checkpoints.save(self.step, self._learnt())

    def _learnt(self) -> TrainState:
        return self.state.replace(model=self.method.trainable(self.state.model))

    def _evaluate(self, signals: StopSignals) -> None:
        """Judges this step; a signal breaks it off, and the resumed run judges it first."""

        def tick() -> None:
            if signals.received and jax.process_count() == 1:  # several must do the same work to the end
                raise Stopped

        try:
            figures, best = self.evaluation(self.sampler, self.state.model, self.step, tick)
        except Stopped:
            return
        self.tensorboard.write_scalars(self.step, figures)
        shown = ', '.join(f'{name} {value:.4f}' for name, value in figures.items())
        self.progress.say(f'step {self.step}: {shown}{", the best so far" if best else ""}')
        if best:
            self._require_finite()
            kept = Checkpoints(self.workdir / 'best', keep=1)
            if all(step < self.step for step in kept.steps()):  # one kept before a kill is the best again
                kept.save(self.step, self._learnt())
                kept.wait()
            kept.close()

    def _due(self, every: int, start: int, end: int) -> bool:
        """Whether what happens at such intervals, and at the last step, happens after this dispatch."""
        return end // every > start // every or end == self.config.train.steps

    def _evaluation_broken_off(self) -> bool:
        if not self.evaluation or not self.step or self.evaluation.has(self.step):
            return False
        k = self.config.train.steps_per_dispatch
        return self._due(self.config.evaluation.every, (self.step - 1) // k * k, self.step)

    def _draws_grids(self) -> bool:
        return self.method.capabilities.samples and self.config.train.steps >= self.config.sample.every

    def _draw_grid(self) -> None:
        drawn, _ = self.sampler(self.state.model, min(self.config.sample.num, LARGEST_GRID))
        picture = images.grid(drawn)
        path = self.workdir / 'samples' / f'step_{self.step}.png'
        write_atomically(path, images.png(picture))
        self.tensorboard.write_image(self.step, 'samples', picture)
        self.progress.say(f'samples of step {self.step}: {path}')

    def _conclude(self) -> None:
        pictures = f'pictures: {self.workdir}/samples/\n' if self._draws_grids() else ''
        self.progress.say(
            f'step {self.step} is the last and is saved in {self.workdir}\n{pictures}'
            f'metrics: {self.workdir}/metrics.jsonl\n'
            f'curves: {sys.executable} -m tensorboard.main --logdir {self.workdir}/tensorboard'
        )

    def _announce(self) -> None:
        for name, params in self.networks.items():
            for block, part in params.items():
                print(f'  {name}.{block:24} {parameter_overview.count_parameters(part):>12,}')
            print(f'{name}: {parameter_overview.count_parameters(params):,} parameters')
        devices = jax.devices()
        c = self.config
        print(
            f'{c.data.name}: {len(self.dataset.images):,} images of {len(self.dataset.class_names)} classes; '
            f'{len(devices)} x {devices[0].device_kind}; '
            + (f'resuming at step {self.step}' if self.step else f'training {c.train.steps:,} steps in {self.workdir}'),
            flush=True,
        )


def _shape(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


class Stopped(Exception):
    """A signal came while something was going on that can be done again."""


class Clock:
    """Wall time of training alone, and the part of it that was spent waiting for data."""

    def __init__(self, batches: pipeline.Prefetcher, step: int):
        self._batches = batches
        self._restart(step)

    def _restart(self, step: int) -> None:
        self._step, self._waited = step, self._batches.waited
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out what happens in the block."""
        start = time.perf_counter()
        yield
        self._start += time.perf_counter() - start

    def lap(self, step: int) -> tuple[int, float, float]:
        """Steps, seconds and seconds waited since the last lap."""
        steps, seconds, waited = (
            step - self._step,
            time.perf_counter() - self._start,
            self._batches.waited - self._waited,
        )
        self._restart(step)
        return steps, seconds, waited
