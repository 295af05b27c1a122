"""Sampling and editing step by step, so that the page can show progress, and stop when its visitor leaves.

The images are those of ``--mode=sample`` and ``--mode=edit`` with the same fields, bit for bit, because keys, labels, starts and
steps come from the same functions. One compiled step serves all settings of the page: the number of the step, the number of
steps, guidance, eta, seed, classes, strength and mask are its arguments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.apps.demo.programs import Programs
from jaxgen.apps.demo.settings import with_fields
from jaxgen.apps.edit.denoising_steps import noise_share
from jaxgen.apps.edit.start import EditStart, require_editable, start_edit, to_images
from jaxgen.apps.trained import Trained, classes_to_sample
from jaxgen.diffusion import editing
from jaxgen.diffusion.levels import Level
from jaxgen.errors import check
from jaxgen.io import grids, images
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.methods.diffusion.sampling import SamplingRun, SamplingSettings
from jaxgen.runtime import xla_flags
from jaxgen.runtime.mesh import batch_sharding, replicated, state_shardings
from jaxgen.runtime.random import image_keys, root_key, stream
from jaxgen.training.sampling import cycled_labels
from jaxgen.types import Array, Fields, JsonObject, PyTree

# Sizes of compiled batches. The smallest one with room for all images is used, or else several batches of the largest size.
BATCH_SIZES = (4, 20)
MAX_IMAGES = 64  # largest number of images that are sampled at once


class Progress(NamedTuple):
    """The state of the images after a step.

    Attributes:
      done: number of steps taken so far, of all batches together.
      total: number of steps of all batches together.
      images: the images, unfinished before the last step, uint8 ``[N, H, W, C]``.
      labels: the class of each image, ``[N]``; None if the model is not conditional.
      class_names: the names of the classes, by label.
      taken: number of steps that the first image has taken.
      noise: share of noise in the variance of the first image.
      compiling: for how many seconds the program of the step has been compiled; None once it is ready.
    """

    done: int
    total: int
    images: np.ndarray
    labels: np.ndarray | None = None
    class_names: Sequence[str] = ()
    taken: int = 0
    noise: float = 0.0
    compiling: float | None = None

    @property
    def is_last(self) -> bool:
        """Whether the images are finished."""
        return self.done == self.total

    def picture(self, title: str = '', *, narrow: bool = False) -> np.ndarray:
        """Return a grid of the images that says which class each has, uint8 ``[H', W', C]``.

        Args:
          title: text above the grid.
          narrow: whether the grid has few columns, so that its labels are legible on a phone.
        """
        return grids.by_class(self.images, self.labels, self.class_names, title, narrow=narrow)


class _Batch(NamedTuple):
    """A batch of images to sample: their keys and labels, ``[N]`` each, sharded over the devices."""

    keys: Array
    labels: Array


class Model:
    """A trained model with its compiled programs.

    Attributes:
      trained: the trained model.
      config: its config.
      compilation: the compilations of its programs.
    """

    def __init__(self, trained: Trained):
        self.trained, self.config = trained, trained.config
        self._sampler = trained.sampler()
        self._sharding, self._replicated = batch_sharding(trained.mesh), replicated(trained.mesh)
        self._sample_at_once = jax.jit(
            trained.method.sample,
            out_shardings=self._sharding,
            compiler_options=xla_flags.options_of_samplers(),
        )
        self._programs: dict[SamplingSettings, Callable] = {}
        self.compilation = Programs()

    @property
    def denoises(self) -> bool:
        """Whether the model is a diffusion model, which has samplers and steps."""
        return self.trained.method.capabilities.denoises

    @property
    def num_programs(self) -> int:
        """The number of compiled programs."""
        programs: list[PyTree] = [self._sample_at_once, *self._programs.values()]
        return sum(program._cache_size() for program in programs)

    def network_calls(self, fields: Fields, num: int | None = None, share: float = 1.0) -> int:
        """Return the number of network calls that all images take, where a call has one image as its input.

        Each kind of guidance adds a call to each step.

        Args:
          fields: values of fields of the config, by dotted names.
          num: number of images; ``sample.num`` if not given.
          share: share of the steps that are taken.

        Raises:
          UserError: if the model cannot do what the fields ask for.
        """
        trained = self._with_fields(fields)
        num = trained.config.sample.num if num is None else num
        if not self.denoises:
            return num
        method = cast(Diffusion, trained.method)
        calls = method.sampling.protocol(method.schedule)['network_calls']
        return num * max(1, round(share * calls)) * (1 + method.sampling.is_guided + method.sampling.is_autoguided)

    def protocol(self, fields: Fields) -> JsonObject:
        """Return the settings of sampling that the fields ask for, with the keys of the protocol of an evaluation.

        Args:
          fields: values of fields of the config, by dotted names.

        Raises:
          UserError: if the model cannot do what the fields ask for.
        """
        step = {'step': self.trained.step}
        if not self.denoises:
            return step
        method = cast(Diffusion, self._with_fields(fields).method)
        return {**step, **method.sampling.protocol(method.schedule)}

    def generate(self, fields: Fields) -> Iterator[Progress]:
        """Yield the images of ``--mode=sample`` after each step.

        Args:
          fields: values of fields of the config, by dotted names.

        Raises:
          UserError: if the model cannot do what the fields ask for.
        """
        trained = self._with_fields(fields)
        config, num = trained.config, trained.config.sample.num
        check(
            num <= MAX_IMAGES,
            f'config.sample.num={num} must be at most {MAX_IMAGES} on this page: use --mode=sample for more',
        )
        size = self._batch_size(num)
        starts = range(0, num, size)
        made = np.full((len(starts) * size, *trained.method.image_shape), 128, np.uint8)
        variables = self._sampler.reseeded(config.seed).variables(trained.model)
        total = len(starts) * (config.sample.num_steps if self.denoises else 1)
        labels = None
        if trained.method.capabilities.knows_classes:
            labels = cycled_labels(classes_to_sample(config, trained.class_names), 0, num)
        start = Progress(0, total, made[:num], labels, trained.class_names, noise=1.0)
        yield start
        batches = [self._batch(trained, first, size) for first in starts]
        yield from self._compiled(trained, variables, batches[0], start)
        ways = [self._generate_batch(trained, variables, batch) for batch in batches]
        done, taken = 0, 0
        while done < total:  # all batches take a step before any takes the next, so that the whole grid changes at once
            taken += 1
            for first, way in zip(starts, ways, strict=True):
                made[first : first + size], noise = next(way)
                done += 1
                yield start._replace(done=done, images=made[:num].copy(), taken=taken, noise=noise)

    def edit(self, fields: Fields, image: np.ndarray, mask: np.ndarray | None = None) -> Iterator[Progress]:
        """Yield the images of ``--mode=edit`` after each step: kind=inpaint with a mask, kind=image2image without one.

        Args:
          fields: values of fields of the config, by dotted names.
          image: the picture to edit at the size of the network's images, uint8 ``[H, W, C]``.
          mask: float32 ``[H, W, 1]``, 1 where the model paints; no mask if None.

        Raises:
          UserError: if the model cannot do what the fields ask for.
        """
        require_editable(self.config, self.trained.method)
        trained = self._with_fields(fields)
        num = trained.config.edit.num
        check(
            num <= BATCH_SIZES[-1],
            f'config.edit.num={num} must be at most {BATCH_SIZES[-1]} on this page: use --mode=edit for more',
        )
        variables = self._sampler.variables(trained.model)
        start = start_edit(trained, variables, image, mask=mask, num=self._batch_size(num))
        batch = self._on_devices(start.keys, start.labels)
        method, total = cast(Diffusion, trained.method), len(start.levels.t) - 1
        run = method.prepare(variables, *batch, levels=start.levels, x=start.x)
        noise = noise_share(start.levels)
        labels = np.asarray(start.labels)[:num] if method.capabilities.knows_classes else None
        noisy = to_images(start.x[:num], _level(start.levels, 0))
        begin = Progress(0, total, noisy, labels, trained.class_names, noise=float(noise[0]))
        yield begin
        step = self._step_of(method, variables, batch, run, start)
        yield from self._wait(('step', self._settings(method), batch.labels.shape), lambda: step(run.carry, 0), begin)
        for done, x in enumerate(self._steps(step, run), 1):
            made = to_images(x[:num], _level(start.levels, done))
            made = start.finish(made) if done == total else made
            yield begin._replace(done=done, images=made, taken=done, noise=float(noise[done]))

    def _generate_batch(self, trained: Trained, variables: PyTree, batch: _Batch) -> Iterator[tuple[np.ndarray, float]]:
        """Yield the images of a batch, uint8 ``[N, H, W, C]``, and their share of noise after each step."""
        if not self.denoises:
            yield images.to_uint8(np.asarray(self._sample_at_once(variables, *batch))), 0.0
            return
        method = cast(Diffusion, trained.method)
        run = method.prepare(variables, *batch)
        noise = noise_share(run.levels)
        for done, x in enumerate(self._steps(self._step_of(method, variables, batch, run), run), 1):
            yield to_images(x, _level(run.levels, done)), float(noise[done])

    def _compiled(self, trained: Trained, variables: PyTree, batch: _Batch, now: Progress) -> Iterator[Progress]:
        """Compile the program that samples a batch, and yield progress until it is ready."""
        if not self.denoises:
            program = lambda: jax.block_until_ready(self._sample_at_once(variables, *batch))  # noqa: E731
            yield from self._wait(('at once', batch.labels.shape), program, now)
            return
        method = cast(Diffusion, trained.method)
        run = method.prepare(variables, *batch)
        step = self._step_of(method, variables, batch, run)
        yield from self._wait(('step', self._settings(method), batch.labels.shape), lambda: step(run.carry, 0), now)

    def _wait(self, key: Hashable, first_call: Callable[[], object], now: Progress) -> Iterator[Progress]:
        """Yield ``now`` with the seconds of compilation so far, until the program with a key is ready."""
        for seconds in self.compilation.wait(key, first_call):
            yield now._replace(compiling=seconds)

    def _steps(self, step: Callable, run: SamplingRun) -> Iterator[np.ndarray]:
        """Yield x after each step of a run, ``[N, H, W, C]``."""
        carry = run.carry
        for i in range(len(run.levels.t) - 1):
            carry = step(carry, i)
            yield np.asarray(carry.x)

    def _step_of(
        self, method: Diffusion, variables: PyTree, batch: _Batch, run: SamplingRun, start: EditStart | None = None
    ) -> Callable:
        """Return a function that takes step ``i`` of a run, using the compiled program of its settings."""
        known, mask = jnp.zeros(method.image_shape), np.ones((*method.image_shape[:2], 1), np.float32)
        if start is not None:
            known, mask = start.known, mask if start.mask is None else start.mask
        steps = jax.tree.map(np.asarray, run.steps)
        scale = np.float32(method.sampling.guidance.scale)
        take_step = self._program(method)

        def step(carry, i):
            now = jax.tree.map(lambda table: table[i], steps)
            return take_step(variables, *batch, known, mask, scale, jax.device_put(carry, self._sharding), now)

        return step

    def _settings(self, method: Diffusion) -> SamplingSettings:
        """Return settings that are equal for all runs that share a program: its numeric arguments have fixed values in them."""
        sampler, guidance = method.sampling.sampler, method.sampling.guidance
        return dataclasses.replace(
            method.sampling,
            num_steps=1,
            sampler=sampler.with_options(**{name: float(getattr(sampler, name) > 0) for name in sampler.options}),
            guidance=dataclasses.replace(guidance, scale=2.0 if method.sampling.is_guided else 1.0),
        )

    def _program(self, method: Diffusion) -> Callable:
        """Return the compiled step for all settings that differ only in its numeric arguments."""
        settings = self._settings(method)
        if settings not in self._programs:
            self._programs[settings] = self._compiled_step(dataclasses.replace(method, sampling=settings))
        return self._programs[settings]

    def _compiled_step(self, method: Diffusion) -> Callable:
        def take_step(variables, keys, labels, known, mask, guidance_scale, carry, step):
            edit = editing.keep_known(known, mask)
            run = method.prepare(variables, keys, labels, x=carry.x, edit=edit, guidance_scale=guidance_scale)
            return run.step(carry, step)

        shapes = jax.eval_shape(self._sampler.variables, self.trained.model)
        of_variables = state_shardings(self.trained.mesh, shapes)
        numbers = (self._replicated,) * 3
        return jax.jit(
            take_step,
            in_shardings=(of_variables, self._sharding, self._sharding, *numbers, self._sharding, self._replicated),
            out_shardings=self._sharding,
            compiler_options=xla_flags.options_of_samplers(),
        )

    def _with_fields(self, fields: Fields) -> Trained:
        """Return the model with new values of some fields, and with the sampler that they ask for."""
        config = with_fields(self.config, fields)
        method = self.trained.method.with_sample_options(config.sample)
        return dataclasses.replace(self.trained, config=config, method=method)

    def _batch(self, trained: Trained, start: int, size: int) -> _Batch:
        """Return the batch of images ``start`` to ``start + size - 1`` of ``--mode=sample``."""
        config = trained.config
        key = stream(root_key(config.seed), 'sample')
        classes = classes_to_sample(config, trained.class_names)
        return self._on_devices(image_keys(key, jnp.arange(start, start + size)), cycled_labels(classes, start, size))

    def _on_devices(self, keys: Array, labels: np.ndarray) -> _Batch:
        return _Batch(*jax.device_put((keys, labels), self._sharding))

    def _batch_size(self, num: int) -> int:
        """Return the number of images in a batch, which divides over the devices."""
        size = next((size for size in BATCH_SIZES if num <= size), BATCH_SIZES[-1])
        devices = self.trained.mesh.size
        return -(-size // devices) * devices


def _level(levels: Level, i: int) -> Level:
    return Level(*(table[i] for table in levels))
