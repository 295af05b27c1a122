"""Drawing step by step: progress can be shown and a visitor who leaves stops it; what is compiled serves every slider.

The images are those of ``--mode=sample`` and ``--mode=edit`` with the same fields. A step's place among the levels, the
number of steps, guidance, eta, seed, classes, strength and mask are arguments of one compiled step.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxgen import methods
from jaxgen.apps import from_config
from jaxgen.apps.edit.edit import require_fields
from jaxgen.apps.rules import validate
from jaxgen.apps.same_run import differences, flag, flatten
from jaxgen.apps.trained import Trained
from jaxgen.apps.untrained import build, build_method
from jaxgen.diffusion import editing
from jaxgen.diffusion.compatibility import is_compatible
from jaxgen.diffusion.noise import initial_noise, step_noise
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.schedules import Level
from jaxgen.errors import UserError, check
from jaxgen.io import images
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.methods.diffusion.sampling import SamplingSettings
from jaxgen.runtime.mesh import batch_sharding, replicated, state_shardings
from jaxgen.runtime.random import image_keys, root_key, stream
from jaxgen.training.sampling import cycled_labels

BATCHES = (4, 16)  # of compiled shapes: the smallest into which all images fit, or several of the largest
MOST = 64  # images at once


class Moment(NamedTuple):
    """How far it is: ``images`` uint8 ``[N, H, W, C]`` are those drawn and, between two steps, those on their way."""

    done: int
    total: int
    images: np.ndarray

    @property
    def last(self) -> bool:
        return self.done == self.total


class Model:
    """A trained model and the programs that were compiled for it."""

    def __init__(self, trained: Trained):
        self.trained = trained
        self.config, self.class_names = trained.config, trained.class_names
        self._sampler = trained.sampler()
        self._batch, self._all = batch_sharding(trained.mesh), replicated(trained.mesh)
        self._normal = jax.jit(self._normal_of, in_shardings=(self._batch, None), out_shardings=self._batch)
        self._at_once = jax.jit(trained.method.sample, out_shardings=self._batch)
        self._programs: dict[SamplingSettings, Callable] = {}

    @property
    def steps_through_noise(self) -> bool:
        """Whether it is a diffusion model, which has samplers, steps and a way."""
        return isinstance(self.trained.method, Diffusion)

    @property
    def programs(self) -> int:
        """How many were compiled."""
        return sum(f._cache_size() for f in (self._at_once, *self._programs.values()))

    def generate(self, fields: Mapping[str, Any]) -> Iterator[Moment]:
        """The images of ``--mode=sample`` with these fields.

        Raises:
          UserError: if a field does not fit the model.
        """
        config = ordered(self.config, fields)
        num = config.sample.num
        check(num <= MOST, f'config.sample.num={num}: the page draws at most {MOST} images at once')
        size = self._size(num)
        steps = self._method(config).sampling.num_steps if self.steps_through_noise else 1
        starts = range(0, num, size)
        drawn = np.full((len(starts) * size, *self.trained.method.image_shape), 128, np.uint8)
        variables = self._sampler.reseeded(config.seed).variables(self.trained.model)
        key = stream(root_key(config.seed, config.train.prng), 'sample')
        done, total = 0, steps * len(starts)
        yield Moment(0, total, drawn[:num])
        for start in starts:
            keys = image_keys(key, jnp.arange(start, start + size))
            labels = self._labels(config, start, size)
            for part in self._batches_way(config, variables, jax.device_put(keys, self._batch), labels):
                drawn[start : start + size] = part
                done += 1
                yield Moment(done, total, drawn[:num].copy())

    def edit(self, fields: Mapping[str, Any], given: np.ndarray, mask: np.ndarray | None = None) -> Iterator[Moment]:
        """The images of ``--mode=edit`` with these fields, of the kind inpaint where there is a mask, else image2image.

        Args:
          given: uint8 ``[H, W, C]``, as the network sees it.
          mask: float32 ``[H, W, 1]``, 1 where the model paints.

        Raises:
          UserError: if a field does not fit the model.
        """
        check(
            self.trained.method.capabilities.edits,
            'this model makes its images at once: choose a diffusion model, which goes step by step',
        )
        config = ordered(self.config, fields)
        num, strength = config.edit.num, config.edit.strength
        check(num <= BATCHES[-1], f'config.edit.num={num}: the page makes at most {BATCHES[-1]} images at once')
        require_fields(config)
        method, size = self._method(config), self._size(num)
        variables = self._sampler.variables(self.trained.model)
        levels = editing.last_levels(method.levels(variables), strength)
        known = images.from_uint8(jnp.asarray(given))
        key = jax.random.fold_in(stream(root_key(config.seed, config.train.prng), 'sample'), 1)
        keys = jax.device_put(image_keys(key, jnp.arange(size)), self._batch)
        x = editing.noisy_start(known, self._normal(keys, 0), levels, strength=strength, inpaints=mask is not None)
        labels, total = self._labels(config, 0, size), len(levels.t) - 1
        scale = np.hypot(np.asarray(levels.alpha), np.asarray(levels.sigma))
        yield Moment(0, total, images.to_uint8(np.asarray(x)[:num] / scale[0]))
        way = self._way(method, variables, levels, x, keys, labels, known, mask)
        for done, x in enumerate(way, 1):
            made = images.to_uint8(x[:num] / scale[done])
            if done == total and mask is not None:
                made = np.where(mask > 0, made, given)
            yield Moment(done, total, made)

    def _batches_way(
        self, config: ConfigDict, variables: Any, keys: jax.Array, labels: jax.Array
    ) -> Iterator[np.ndarray]:
        """uint8 images of one batch after each step."""
        if not self.steps_through_noise:
            yield images.to_uint8(np.asarray(self._at_once(variables, keys, labels)))
            return
        method = self._method(config)
        levels = method.levels(variables)
        x = initial_noise(levels, self._normal(keys, 0))
        scale = np.hypot(np.asarray(levels.alpha), np.asarray(levels.sigma))[1:]
        way = self._way(method, variables, levels, x, keys, labels, jnp.zeros(method.image_shape), None)
        for x, s in zip(way, scale, strict=True):
            yield images.to_uint8(x / s)

    def _way(
        self,
        method: Diffusion,
        variables: Any,
        levels: Level,
        x: jax.Array,
        keys: jax.Array,
        labels: jax.Array,
        known: jax.Array,
        mask: np.ndarray | None,
    ) -> Iterator[np.ndarray]:
        """x after each step."""
        run = method.prepare(variables, keys, labels, levels=levels, x=x)
        steps = jax.tree.map(np.asarray, run.steps)
        carry = jax.device_put(run.carry, self._batch)
        everywhere = np.ones((*method.image_shape[:2], 1), np.float32)
        fixed = known, everywhere if mask is None else mask, np.float32(method.sampling.guidance.scale)
        take_step = self._program(method)
        for i in range(len(levels.t) - 1):
            step = jax.tree.map(lambda table, i=i: table[i], steps)
            carry = take_step(variables, keys, labels, *fixed, carry, step)
            yield np.asarray(carry.x)

    def _program(self, method: Diffusion) -> Callable:
        """Return the compiled step that serves all settings that differ in numbers alone."""
        sampler, guidance = method.sampling.sampler, method.sampling.guidance
        settings = dataclasses.replace(
            method.sampling,
            num_steps=1,
            sampler=sampler.with_options(**{name: float(getattr(sampler, name) > 0) for name in sampler.options}),
            guidance=dataclasses.replace(guidance, scale=2.0 if method.sampling.is_guided else 1.0),
        )
        if settings not in self._programs:
            self._programs[settings] = self._compiled(dataclasses.replace(method, sampling=settings))
        return self._programs[settings]

    def _compiled(self, method: Diffusion) -> Callable:
        def take_step(variables, keys, labels, known, mask, guidance_scale, carry, step):
            edit = editing.keep_known(known, mask)
            run = method.prepare(variables, keys, labels, x=carry.x, edit=edit, guidance_scale=guidance_scale)
            return run.step(carry, step)

        shapes = jax.eval_shape(self._sampler.variables, self.trained.model)
        there = state_shardings(self.trained.mesh, shapes)
        fixed = (self._all,) * 3
        return jax.jit(
            take_step,
            in_shardings=(there, self._batch, self._batch, *fixed, self._batch, self._all),
            out_shardings=self._batch,
        )

    def _normal_of(self, keys: jax.Array, i: Any) -> jax.Array:
        return step_noise(keys, i, self.trained.method.image_shape)

    def _method(self, config: ConfigDict) -> Diffusion:
        """The model's with the sampler of ``config``."""
        return build_method(config, self.trained.method.image_shape, len(self.class_names))

    def _size(self, num: int) -> int:
        """Of the batch, which divides over the devices."""
        size = next((s for s in BATCHES if num <= s), BATCHES[-1])
        devices = self.trained.mesh.size
        return -(-size // devices) * devices

    def _labels(self, config: ConfigDict, start: int, num: int) -> jax.Array:
        classes = from_config.classes_to_sample(config, self.class_names)
        return jax.device_put(cycled_labels(classes, start, num), self._batch)


def ordered(config: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """``config`` with these fields by dotted name; those that its method does not have are left out.

    Raises:
      UserError: if they do not fit.
    """
    own = config.copy_and_resolve_references()
    known = flatten(own.to_dict())
    own.update_from_flattened_dict({name: value for name, value in fields.items() if name in known})
    validate(own)
    return own


def samplers(config: ConfigDict) -> list[str]:
    """Those that fit the model of a config; none for a method that draws at once."""
    if not methods.METHODS[config.family].supports.denoises:
        return []
    d = config.diffusion
    choices = (d.schedule, d.parameterisation, d.weighting, d.variance)
    return [name for name in SAMPLERS if is_compatible(*choices, name)]


def edits(config: ConfigDict) -> bool:
    """Return whether the model of a config can edit images."""
    try:
        return build(config)[0].capabilities.edits
    except UserError:
        return False


def command(workdir: str, mode: str, config: ConfigDict, fields: Mapping[str, Any]) -> str:
    """The command line that does the same: of the fields those that are not as the workdir's config has them."""
    now = json.loads(ordered(config, fields).to_json())
    changed = differences(json.loads(config.to_json()), now, tuple(fields))
    flags = [flag(name, wanted) for name, _, wanted in changed]
    return ' '.join(['python main.py', f'--config={shlex.quote(workdir + "/config.json")}', f'--mode={mode}', *flags])
