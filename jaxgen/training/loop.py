"""The training loop: dispatches to the devices, and at intervals a line of the log, a grid, an evaluation, a checkpoint."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator

import jax

from jaxgen.data import pipeline
from jaxgen.errors import UserError
from jaxgen.runtime import progress
from jaxgen.runtime.compilation import compiled
from jaxgen.runtime.mesh import on_host
from jaxgen.runtime.preemption import Agreement, StopSignals, answer_in_training
from jaxgen.training.batches import BatchLoader, dispatches
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.clock import Clock
from jaxgen.training.evaluation import evaluate, keep_best
from jaxgen.training.grids import write_grid
from jaxgen.training.log import RunLog
from jaxgen.training.plan import Plan
from jaxgen.training.profile import Profile
from jaxgen.training.sampling import SamplePipeline
from jaxgen.training.snapshots import Snapshots
from jaxgen.training.state import TrainState, shapes_of
from jaxgen.training.step import make_dispatch
from jaxgen.types import PyTree


class DivergedError(UserError):
    """An error for a loss that is not finite.

    Attributes:
      step: the first step with such a loss.
    """

    def __init__(self, sentence: str, step: int):
        super().__init__(sentence)
        self.step = step


class Loop:
    """A training run on one process, from the step where it starts or resumes to the last one.

    Args:
      state: the full state, with frozen weights; its buffers are donated to the first step.
      step: the step of that state.
      samples: samples the images of grids and evaluations.
      renew: called before anything is written; it creates the run directory again if it was removed, and raises an error if
        another run has begun there.
    """

    def __init__(
        self,
        plan: Plan,
        state: TrainState,
        step: int,
        samples: SamplePipeline,
        checkpoints: Checkpoints,
        renew: Callable[[], None] = lambda: None,
    ):
        self.plan, self.state, self.step = plan, state, step
        self._samples, self._checkpoints, self._renew = samples, checkpoints, renew
        self._template = shapes_of(state)
        self._loader = BatchLoader(
            plan.dataset, plan.mesh, seed=plan.seed, batch_size=plan.batch_size, resident=plan.train.resident_data
        )
        self._resident = self._loader.resident_data()
        self._dispatch = make_dispatch(
            plan.method,
            plan.key,
            plan.mesh,
            self._template,
            random_flip=plan.random_flip,
            resident=plan.train.resident_data,
        )
        self._compiled: dict[int, jax.stages.Compiled] = {}
        self._keeps_averages = bool(plan.method.moving_averages(self._template.model))
        self._snapshots = Snapshots(plan.workdir)

    def run(self) -> None:
        """Train to the last step.

        Raises:
          DivergedError: if the loss is not finite.
          SystemExit: after SIGTERM or SIGINT, once the state is saved, or at once if no step was taken.
        """
        plan, steps = self.plan, self.plan.train.steps
        self._log = RunLog(plan.workdir, self.step, steps, plan.log)
        self._profile = Profile(plan.workdir / 'profile', plan.train.profile, self.step)
        batches = pipeline.Prefetcher(dispatches(self.step, steps, plan.train.steps_per_dispatch), self._loader)
        try:
            with StopSignals(answer_in_training) as signals:
                if self.step == 0 and plan.grid_every and plan.grid_every <= steps:
                    self._write_grid()
                if plan.misses_evaluation(self.step):
                    self._evaluate(signals)
                self._exit_without_a_step(signals)
                self._train(batches, signals)
        finally:
            batches.close()
            self._profile.close()
            self._log.close(is_complete=self.step >= steps)
            self._checkpoints.close()

    def _train(self, batches: pipeline.Prefetcher, signals: StopSignals) -> None:
        clock, agreement = Clock(batches, self.step), Agreement(self.plan.mesh)
        with self._log.training():
            self._take_steps(batches, signals, clock, agreement)
        self._checkpoints.wait()
        self._log.say(self._conclusion())

    def _take_steps(
        self, batches: pipeline.Prefetcher, signals: StopSignals, clock: Clock, agreement: Agreement
    ) -> None:
        done = None
        for start, end, batch in batches:
            if self._compile(end - start, batch, clock) and done is None:
                self._exit_without_a_step(signals)
                if not progress.has_bar():
                    self._log.say('running the first step ...')
            self._profile.before(start)
            self.state, next_done = self._compiled[end - start](self.state, batch, *self._resident)
            if done is not None:
                done.block_until_ready()  # one dispatch runs and one waits: a signal is answered within two
            done, self.step = next_done, end
            if self._profile.after(done):
                self._log.say(f'profile of the steps to {end}: {self.plan.workdir}/profile')
            self._log.advance(end - start)
            self._report(start, end, clock, signals)
            stop = agreement(signals.received)
            self._store(start, end, clock, save=bool(stop))
            if stop:
                self._exit(stop)

    @contextlib.contextmanager
    def _paused(self, clock: Clock) -> Iterator[None]:
        """Exclude the time of the block from the rates that are logged and shown."""
        with clock.paused(), self._log.paused():
            yield

    def _report(self, start: int, end: int, clock: Clock, signals: StopSignals) -> None:
        """Log, sample a grid and evaluate, each if it is due after a dispatch."""
        plan = self.plan
        if plan.is_due(plan.train.log_every, start, end):
            self._write_row(clock)
        if plan.grid_every and plan.is_due(plan.grid_every, start, end):
            with self._paused(clock):
                self._write_grid()
        if plan.evaluation and plan.is_due(plan.evaluation.every, start, end):
            with self._paused(clock):
                self._evaluate(signals)

    def _store(self, start: int, end: int, clock: Clock, save: bool) -> None:
        """Write a snapshot of the averages if it is due, and a checkpoint if it is due or ``save`` is set."""
        plan = self.plan
        if self._keeps_averages and plan.is_due(plan.snapshot_every, start, end):
            with self._paused(clock):
                self._renew()
                self._snapshots.save(end, on_host(plan.mesh, plan.method.moving_averages(self.state.model)))
        if save or plan.is_due(plan.checkpoint.every, start, end):
            with self._paused(clock), progress.Stage(f'saving step {self.step}', announces=False, sums_up=False):
                self._save()

    def _compile(self, length: int, batch: PyTree, clock: Clock) -> bool:
        """Compile the program for a dispatch of ``length`` steps; return False if that was done before."""
        if length in self._compiled:
            return False
        lowered: list[jax.stages.Lowered] = []

        def lower() -> jax.stages.Lowered:
            lowered.append(self._dispatch.lower(self._template, batch, *self._resident))
            return lowered[0]

        with self._paused(clock):
            start = time.perf_counter()
            self._compiled[length] = compiled('the training step', lower, sums_up=False)
            seconds = time.perf_counter() - start
            cost = lowered[0].cost_analysis()  # None on accelerators
        # XLA counts the body of a loop once, however many steps there are
        work = f'; it does {cost["flops"] / self.plan.batch_size / 1e9:.3g} GFLOP an image' if cost else ''
        self._log.say(f'compiled the training step in {progress.duration(seconds)}{work}')
        return True

    def _write_row(self, clock: Clock) -> None:
        """Write a row of the log: the metrics averaged over the steps since the last row."""
        state, batch_size = jax.device_get(self.state.replace(model=None)), self.plan.batch_size
        self._require_finite()
        lap = clock.lap(self.step)
        steps_per_sec = lap.steps / lap.seconds
        row: dict[str, float] = {'step': self.step}
        row |= {name: float(total / state.count) for name, total in state.sums.items()}
        row['epoch'] = self.step * batch_size / len(self.plan.dataset.images)
        row['steps_per_sec'] = steps_per_sec
        row['images_per_sec'] = steps_per_sec * batch_size
        row['data_wait'] = lap.waited / lap.seconds
        self.state = self.state.replace(sums=jax.tree.map(lambda x: x * 0, self.state.sums), count=self.state.count * 0)
        self._renew()
        self._log.row(row)

    def _write_grid(self) -> None:
        plan = self.plan
        self._renew()
        write_grid(
            self._samples,
            self.state.model,
            self.step,
            num=plan.sample.num,
            class_names=plan.dataset.class_names if plan.method.capabilities.knows_classes else (),
            workdir=plan.workdir,
            log=self._log,
        )

    def _evaluate(self, signals: StopSignals) -> None:
        """Evaluate this step; if a signal interrupts the evaluation, the resumed run begins with it."""
        if self.plan.evaluation is None:
            return
        self._renew()
        result = evaluate(self.plan.evaluation, self._samples, self.state.model, self.step, signals)
        if result is None:
            return
        metrics, is_best = result
        self._log.scalars(self.step, metrics)
        shown = ', '.join(f'{name} {value:.4f}' for name, value in metrics.items())
        self._log.say(f'step {self.step}: {shown}{", the best so far" if is_best else ""}')
        if is_best:
            self._require_finite()
            keep_best(self.plan.workdir, self.step, self._trainable())

    def _save(self) -> None:
        self._require_finite()
        self._renew()
        if self.plan.on_save:
            self.plan.on_save(self.state.model)
        self._checkpoints.save(self.step, self._trainable())

    def _trainable(self) -> TrainState:
        """Return the state without frozen weights, which is the part that a checkpoint stores."""
        return self.state.replace(model=self.plan.method.trainable(self.state.model))

    def _require_finite(self) -> None:
        step = int(self.state.nonfinite_step)
        if step < 0:
            return
        self._checkpoints.wait()
        saved = self._checkpoints.steps()
        kept = f'the checkpoint of step {saved[-1]} is complete' if saved else 'there is no checkpoint yet'
        raise DivergedError(
            f'the loss is not finite at step {step} ({kept}): lower the learning_rate, clip the gradients with '
            f'grad_clip_norm, or compute in float32',
            step,
        )

    def _exit_without_a_step(self, signals: StopSignals) -> None:
        """Exit if a signal came before the first step; several processes go on, since they agree on it after a step."""
        if signals.received is not None and jax.process_count() == 1:
            name = signal.Signals(signals.received).name
            self._log.say(f'{name}: stopped before the next step, with nothing new to save')
            raise SystemExit(128 + signals.received)

    def _exit(self, stop: int) -> None:
        self._checkpoints.wait()
        self._log.say(
            f'{signal.Signals(stop).name}: step {self.step} is saved in {self.plan.workdir}; the same command continues '
            f'from there'
        )
        raise SystemExit(128 + stop)

    def _conclusion(self) -> str:
        workdir, grids = self.plan.workdir, 'samples/, ' if self.plan.grid_every else ''
        return (
            f'to see the curves: {sys.executable} -m tensorboard.main --logdir {workdir}/tensorboard\n'
            f'step {self.step} is the last and is saved in {workdir}: checkpoints/, {grids}metrics.jsonl'
        )
