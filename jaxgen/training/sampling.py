"""Drawing any number of images in batches of one compiled shape: the grids of training and mode=sample."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxgen.errors import pick
from jaxgen.methods.base import Method
from jaxgen.runtime import memory
from jaxgen.runtime.mesh import batch_sharding, replicated, state_shardings
from jaxgen.runtime.random import root_key, stream


def cycled_labels(classes: Sequence[int], start: int, num: int) -> np.ndarray:
    """Return the labels of images ``start`` to ``start + num - 1``, int32 ``[num]``: image i has class ``i % len(classes)``."""
    return np.asarray(classes, np.int32)[np.arange(start, start + num) % len(classes)]


def chosen_classes(class_names: Sequence[str], *choices: Sequence[str] | None) -> tuple[int, ...]:
    """Return the labels of the first of ``choices`` that names any classes, or else of all classes.

    Args:
      class_names: the classes of the model, in the order of their labels.

    Raises:
      UserError: if a class does not exist.
    """
    chosen = next((names for names in choices if names), class_names)
    return tuple(class_names.index(pick(name, class_names, 'the class')) for name in chosen)


class Sampler:
    """Draws image i of a seed as a function of (seed, i) alone: its label is that of the classes asked for, or else trained
    on, in turn.

    Args:
      config: ``config.sample`` says how, and which classes.
      method: draws a batch.
      model: of the method, or its shapes.
      class_names: what the labels mean.
      seed: the run's own if None.
      use: the stream of the seed's randomness that the images come from.
    """

    def __init__(
        self,
        config: Any,
        method: Method,
        mesh: Mesh,
        model: Any,
        class_names: Sequence[str],
        seed: int | None = None,
        use: str = 'sample',
    ):
        self._config, self.use = config, use
        self._classes = chosen_classes(class_names, config.sample.classes, config.data.classes)
        self._batch_size = config.sample.batch_size
        self._sharding = batch_sharding(mesh)
        self._set_seed(config.seed if seed is None else seed)

        def draw(variables, key, indices, labels):
            keys = jax.vmap(jax.random.fold_in, (None, 0))(stream(key, use), indices)
            images = method.sample(variables, keys, labels)
            return jnp.clip(jnp.round((images + 1) * 127.5), 0, 255).astype(jnp.uint8)

        def prepare(model, key):
            return method.sampling_variables(model, stream(key, 'statistics'), config.sample.ema)

        there = state_shardings(mesh, jax.eval_shape(prepare, model, self._key))
        self._prepare = jax.jit(
            prepare, in_shardings=(state_shardings(mesh, model), replicated(mesh)), out_shardings=there
        )
        shardings = there, replicated(mesh), self._sharding, self._sharding
        self._draw = jax.jit(draw, in_shardings=shardings, out_shardings=replicated(mesh))

    def _set_seed(self, seed: int) -> None:
        self.seed, self._key = seed, root_key(seed, self._config.train.prng)

    def reseeded(self, seed: int) -> Sampler:
        """The same of another seed: nothing is compiled again."""
        other = copy.copy(self)
        other._set_seed(seed)
        return other

    def variables(self, model: Any) -> Any:
        """What the method draws with."""
        return self._prepare(model, self._key)

    def lower(self, model: Any) -> jax.stages.Lowered:
        """The program that draws a batch, not compiled yet; ``model`` may be shapes."""
        variables, key = jax.eval_shape(lambda m: (self.variables(m), self._key), model)
        numbers = jax.ShapeDtypeStruct((self._batch_size,), jnp.int32)
        return self._draw.lower(variables, key, numbers, numbers)

    def labels(self, num: int, start: int = 0) -> np.ndarray:
        """int32 ``[num]`` of the images from ``start`` on."""
        return cycled_labels(self._classes, start, num)

    def batches(self, model, num: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images 0 .. num-1 as pieces ``(uint8 [n, H, W, C], labels int32 [n])``."""
        variables = self.variables(model)
        for start in range(0, num, self._batch_size):
            indices = np.arange(start, start + self._batch_size)
            labels = self.labels(self._batch_size, start)
            inputs = variables, self._key, *jax.device_put((indices, labels), self._sharding)
            with memory.compiling() if start == 0 else contextlib.nullcontext():
                images = jax.block_until_ready(self._draw(*inputs))
            kept = min(self._batch_size, num - start)
            yield np.asarray(images)[:kept], labels[:kept]

    def __call__(self, model, num: int) -> tuple[np.ndarray, np.ndarray]:
        """All of them: ``(uint8 [num, H, W, C], labels int32 [num])``."""
        images, labels = zip(*self.batches(model, num), strict=True)
        return np.concatenate(images), np.concatenate(labels)
