"""The trainer: a method and a data set in, a run directory out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from jaxgen.data import Dataset
from jaxgen.io.files import absolute, make_folder, write_atomically, write_json
from jaxgen.io.lock import Lock, exclusive
from jaxgen.io.run_directory import CHECKPOINTS, CONFIG, PARAMETERS, read_config, require_no_lost_checkpoints
from jaxgen.methods.base import Method
from jaxgen.methods.options import SampleOptions
from jaxgen.models.parameters import count, table
from jaxgen.runtime import hardware, progress
from jaxgen.runtime.mesh import make_mesh, on_mesh
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.evaluation import Evaluation, SaveHook
from jaxgen.training.loop import Loop
from jaxgen.training.options import CheckpointOptions, TrainOptions
from jaxgen.training.plan import Plan
from jaxgen.training.record import require_same_run, run_record
from jaxgen.training.sampling import SamplePipeline, chosen_classes
from jaxgen.training.state import TrainState, initial_state, initializer, state_template
from jaxgen.training.writers.options import LogOptions, require_installed
from jaxgen.types import Fields, JsonObject, PyTree


class Trainer:
    """A trainer that trains a method on a data set, and keeps everything in a run directory.

    A run that was stopped or killed resumes from its newest checkpoint and gives the same bits as an uninterrupted run.

    Args:
      method: what to train.
      dataset: the training images; their labels index ``dataset.class_names``.
      workdir: the run directory. It gets ``config.json``, ``checkpoints/``, ``metrics.jsonl``, ``tensorboard/`` and grids of
        samples in ``samples/``.
      steps: number of training steps; ``train.steps`` if not set.
      batch_size: images in a step, over all devices and processes.
      seed: seed of the initial parameters, the order of the data, the noise and the samples.
      random_flip: whether to mirror each training image with probability 1/2.
      train: how the steps reach the devices, and the intervals of the log. The trainer ignores ``grad_accumulation``, which
        belongs to the method, and ``deterministic``, which must be set up before JAX starts.
      sample: which images the grids show, how often they are written, and the batch size of sampling.
      checkpoint: when checkpoints are written, and which of them are kept.
      log: the places to which the run reports besides the files of its run directory; none if not set.
      mesh: devices to train on; all of them, each with a copy of the parameters, if not set.
      snapshot_every: steps between snapshots of averages whose length is chosen after training, if the method has any; the
        steps between checkpoints if not set.
      evaluation: evaluates the model while it trains; the step that it calls the best is kept in ``best/``.
      on_save: called with the model before each checkpoint is written.
      initial_weights: returns the weights from which training starts, in the form that ``Method.weights`` returns; it is not
        called when training resumes. Random weights if not set.
      config_json: the contents of ``config.json``; a record of these arguments if not set, from which ``jaxgen.load`` cannot
        make the method again: sample such a run with ``Trainer.sample``.
      require_same: called with the ``config.json`` of a run to resume; it raises UserError if that is a different run. By
        default the two records are compared.

    Raises:
      UserError: if a batch does not divide over the devices, a class of ``sample.classes`` does not exist, or a package that
        ``log`` needs is missing.

    Example:
      >>> import jaxgen
      >>> from jaxgen.methods.diffusion.options import DiffusionOptimizerOptions
      >>> network = jaxgen.models.CNN(out_channels=1, base_channels=4, num_blocks=1, norm_groups=2)
      >>> optimizer = DiffusionOptimizerOptions().resolved(steps=2)
      >>> method = jaxgen.methods.Diffusion(network, jaxgen.diffusion.linear(1000), optimizer, image_shape=(8, 8, 1))
      >>> trainer = jaxgen.Trainer(method, jaxgen.data.load('digits:train'), 'runs/example', steps=2, batch_size=8)
      >>> trainer.train()
      model: Diffusion, ... parameters (cnn)
      ...
      >>> trainer.sample(8).shape
      (8, 8, 8, 1)
    """

    def __init__(
        self,
        method: Method,
        dataset: Dataset,
        workdir: epath.PathLike,
        *,
        steps: int | None = None,
        batch_size: int = 64,
        seed: int = 0,
        random_flip: bool = False,
        train: TrainOptions | None = None,
        sample: SampleOptions | None = None,
        checkpoint: CheckpointOptions | None = None,
        log: LogOptions | None = None,
        mesh: Mesh | None = None,
        snapshot_every: int | None = None,
        evaluation: Evaluation | None = None,
        on_save: SaveHook | None = None,
        initial_weights: Callable[[], dict[str, PyTree]] | None = None,
        config_json: Fields | None = None,
        require_same: Callable[[JsonObject], None] | None = None,
    ):
        train, checkpoint = train or TrainOptions(), checkpoint or CheckpointOptions()
        self.plan = Plan(
            method=method,
            dataset=dataset,
            workdir=absolute(workdir),
            mesh=mesh or make_mesh(),
            seed=seed,
            batch_size=batch_size,
            random_flip=random_flip,
            train=train if steps is None else dataclasses.replace(train, steps=steps),
            sample=sample or SampleOptions(),
            checkpoint=checkpoint,
            log=log or LogOptions(),
            snapshot_every=snapshot_every or checkpoint.every,
            evaluation=evaluation,
            on_save=on_save,
        )
        self.plan.check()
        require_installed(self.plan.log)
        self._classes = chosen_classes(dataset.class_names, self.plan.sample.classes)
        self._config_json, self._require_same_config = config_json, require_same
        self._init, self._initial_weights = initializer(method, self.plan.key), initial_weights
        self._model: PyTree = None

    def train(self) -> None:
        """Train to the last step, from the newest checkpoint of the run directory if it has any.

        SIGTERM and SIGINT (Ctrl-C) end training after the current step, when the state is saved.

        Raises:
          UserError: if the run directory holds another run, another process trains there, a checkpoint cannot be written, or
            the loss is not finite (a ``DivergedError``).
          SystemExit: with 128 + the number of the signal, after SIGTERM or SIGINT.
        """
        with progress.shown():
            self._train()

    def _train(self) -> None:
        plan, self._model = self.plan, None
        make_folder(plan.workdir)
        with exclusive(plan.workdir) as lock:
            require_no_lost_checkpoints(plan.workdir)
            checkpoints = Checkpoints(plan.workdir / CHECKPOINTS, plan.checkpoint.keep, plan.checkpoint.keep_every)
            resumes = bool(checkpoints.steps())
            if resumes:
                self._require_same()
            with progress.Stage(
                'reading the newest checkpoint' if resumes else 'initialising the model', sums_up=False
            ):
                step, state = self._start(checkpoints)
            if resumes:
                checkpoints.discard_after(step)
            self._write_config()
            write_atomically(plan.workdir / PARAMETERS, (table(self._networks) + '\n').encode())
            if step >= plan.train.steps and not plan.misses_evaluation(step):
                print(f'{plan.workdir} is already at step {step}: raise the number of steps to train on')
                checkpoints.close()
            else:
                progress.say(self._announcement(step))
                loop = Loop(plan, state, step, self._samples, checkpoints, lambda: self._renew(lock, checkpoints))
                loop.run()
                state = loop.state
        self._model = state.model

    def _write_config(self) -> None:
        write_json(self.plan.workdir / CONFIG, self._config_json or self._record())

    def _renew(self, lock: Lock, checkpoints: Checkpoints) -> None:
        """Create the run directory again if it was removed; the log is written again with its next row."""
        if lock.renew():
            checkpoints.reopen()
            self._write_config()
            print(
                f'{self.plan.workdir} was removed: it is made again, and the next checkpoint is written there',
                flush=True,
            )

    def sample(self, num: int, *, classes: Sequence[str] | None = None, seed: int | None = None) -> np.ndarray:
        """Sample images with the trained model, the model of the newest checkpoint or, without either, the untrained model.

        Args:
          num: number of images.
          classes: names of the classes that the images have in turn; the classes of the training grids if not set.
          seed: seed of the images; the seed of the run if not set. Image i depends on the seed and on i alone.

        Returns:
          uint8 ``[num, H, W, C]``.

        Raises:
          UserError: if the method generates no images, a class does not exist, or the run directory holds another run.
        """
        if self._model is None:
            self._model = self._stored_model()
        samples = self._samples.reseeded(self.plan.seed if seed is None else seed)
        if classes is not None:
            samples = samples.with_classes(chosen_classes(self.plan.dataset.class_names, classes))
        images, _ = samples(self._model, num)
        return images

    @functools.cached_property
    def _template(self) -> TrainState:
        """Shapes, dtypes and shardings of the state that a checkpoint stores."""
        return state_template(self._init, self.plan.mesh)

    @functools.cached_property
    def _model_shapes(self) -> PyTree:
        """Shapes of the full model, with its frozen weights."""
        return jax.eval_shape(self.plan.method.with_frozen, self._template.model)

    @functools.cached_property
    def _samples(self) -> SamplePipeline:
        plan = self.plan
        return SamplePipeline(
            plan.method,
            plan.mesh,
            self._model_shapes,
            classes=self._classes,
            seed=plan.seed,
            batch_size=plan.sample.batch_size,
            ema=plan.sample.ema,
        )

    def _start(self, checkpoints: Checkpoints | None) -> tuple[int, TrainState]:
        """Return the step and state of the newest checkpoint, or of the start of a run, with the frozen weights."""
        restored = checkpoints.restore_newest(self._template, print) if checkpoints else None
        step, trainable = restored or (0, self._initial_state())
        return step, trainable.replace(model=on_mesh(self.plan.mesh, self.plan.method.with_frozen(trainable.model)))

    def _initial_state(self) -> TrainState:
        weights = None if self._initial_weights is None else self._initial_weights()
        return initial_state(self._init, self._template, weights)

    def _stored_model(self) -> PyTree:
        """Return the model of the newest checkpoint, or the one from which training would start."""
        folder = self.plan.workdir / CHECKPOINTS
        if not folder.exists():
            return self._start(None)[1].model
        checkpoints = Checkpoints(folder, read_only=True)
        if checkpoints.steps():
            self._require_same()
        _, state = self._start(checkpoints)
        checkpoints.close()
        return state.model

    def _require_same(self) -> None:
        """Refuse to continue the run in the run directory if it is a different one."""
        stored = read_config(self.plan.workdir)
        if stored is None:
            return
        if self._require_same_config:
            self._require_same_config(stored)
        else:
            require_same_run(self._record(), stored, self.plan.workdir)

    def _record(self) -> JsonObject:
        return run_record(self.plan, self._networks)

    @property
    def _networks(self) -> dict[str, PyTree]:
        """The shapes of the parameters of each network."""
        return self.plan.method.networks(self._model_shapes)

    def _announcement(self, step: int) -> str:
        """Return four lines that describe the training, and a warning if an accelerator is not used."""
        plan = self.plan
        images, classes = plan.dataset.images, plan.dataset.class_names
        height, width, channels = images.shape[1:]
        sizes = {name: count(params) for name, params in self._networks.items()}
        parts = ', '.join(name if len(sizes) == 1 else f'{name} {size:,}' for name, size in sizes.items())
        what = f'resuming at step {step:,} of' if step else 'training'
        lines = [
            f'model: {type(plan.method).__name__}, {sum(sizes.values()):,} parameters ({parts})',
            f'data: {len(images):,} images of {height}x{width}x{channels} in {_number(len(classes), "class", "classes")}, '
            f'batches of {plan.batch_size}',
            f'devices: {hardware.described(list(plan.mesh.devices.flat))}',
            f'run: {plan.workdir}, {what} {plan.train.steps:,} steps',
        ]
        unused = hardware.unused_accelerator()
        return '\n'.join([*lines, f'warning: {unused}'] if unused else lines)


def _number(count: int, one: str, many: str) -> str:
    return f'{count:,} {one if count == 1 else many}'
