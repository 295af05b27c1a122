"""Sampling of any number of images in batches of one compiled shape, for the grids of training and for mode=sample."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from jaxgen.errors import pick
from jaxgen.io.images import to_uint8
from jaxgen.methods.base import Method
from jaxgen.runtime import random, xla_flags
from jaxgen.runtime.compilation import compiled
from jaxgen.runtime.mesh import batch_sharding, replicated, state_shardings
from jaxgen.runtime.progress import Stage
from jaxgen.types import PyTree


def cycled_labels(classes: Sequence[int], start: int, num: int) -> np.ndarray:
    """Return the labels of images ``start`` to ``start + num - 1``, int32 ``[num]``: image i has class ``i % len(classes)``."""
    return np.asarray(classes, np.int32)[np.arange(start, start + num) % len(classes)]


def chosen_classes(class_names: Sequence[str], *choices: Sequence[str] | None) -> tuple[int, ...]:
    """Return the labels of the first of ``choices`` that names any classes, or else of all classes.

    Args:
      class_names: the classes of the model, in the order of their labels.
      *choices: names of classes, or None for no choice.

    Raises:
      UserError: if a class does not exist.
    """
    chosen = next((names for names in choices if names), class_names)
    return tuple(class_names.index(pick(name, class_names, 'the class')) for name in chosen)


class SamplePipeline:
    """A pipeline that samples images with a method; each image depends on the seed and on its own index only.

    Args:
      method: the method, which samples a batch.
      mesh: the devices, over which a batch is divided.
      model: the full model of the method, or the shapes of its arrays.
      classes: labels that the images have in turn.
      seed: seed of the random keys.
      stream: the stream of random keys that the images use, one of ``random.STREAMS``.
      batch_size: images that are sampled at once; it must divide over the devices.
      ema: whether to sample with the moving average of the parameters.
    """

    def __init__(
        self,
        method: Method,
        mesh: Mesh,
        model: PyTree,
        *,
        classes: Sequence[int],
        seed: int = 0,
        stream: str = 'sample',
        batch_size: int = 64,
        ema: bool = True,
    ):
        self.stream, self.classes, self.batch_size = stream, tuple(classes), batch_size
        self._batch_sharding = batch_sharding(mesh)
        self._set_seed(seed)

        def sample_batch(variables, key, indices, labels):
            keys = random.image_keys(random.stream(key, stream), indices)
            return to_uint8(method.sample(variables, keys, labels))

        def variables_of(model, key):
            return method.sampling_variables(model, random.stream(key, 'statistics'), ema)

        shardings = state_shardings(mesh, jax.eval_shape(variables_of, model, self._key))
        self._variables_of = jax.jit(
            variables_of, in_shardings=(state_shardings(mesh, model), replicated(mesh)), out_shardings=shardings
        )
        self._sample_batch = jax.jit(
            sample_batch,
            in_shardings=(shardings, replicated(mesh), self._batch_sharding, self._batch_sharding),
            out_shardings=replicated(mesh),
            compiler_options=xla_flags.options_of_samplers(),
        )
        self._programs: dict[str, jax.stages.Compiled] = {}  # shared with copies

    def _set_seed(self, seed: int) -> None:
        self.seed, self._key = seed, random.root_key(seed)

    def reseeded(self, seed: int) -> SamplePipeline:
        """Return the same pipeline with another seed; nothing is compiled again."""
        other = copy.copy(self)
        other._set_seed(seed)
        return other

    def with_classes(self, classes: Sequence[int]) -> SamplePipeline:
        """Return the same pipeline for other classes; nothing is compiled again."""
        other = copy.copy(self)
        other.classes = tuple(classes)
        return other

    def variables(self, model: PyTree) -> PyTree:
        """Return the variables with which the method samples."""
        return self._variables_of(model, self._key)

    def lower(self, model: PyTree) -> jax.stages.Lowered:
        """Return the program that samples a batch, before compilation.

        Args:
          model: the model, or the shapes of its arrays.
        """
        variables, key = jax.eval_shape(lambda m: (self.variables(m), self._key), model)
        numbers = jax.ShapeDtypeStruct((self.batch_size,), np.int32)
        return self._sample_batch.lower(variables, key, numbers, numbers)

    def labels(self, num: int, start: int = 0) -> np.ndarray:
        """Return the labels of ``num`` images from image ``start`` on, int32 ``[num]``."""
        return cycled_labels(self.classes, start, num)

    def batches(self, model: PyTree, num: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield images 0 to num - 1 in batches ``(uint8 [n, H, W, C], labels int32 [n])``."""
        variables, stage = self.variables(model), Stage('sampling', num)
        for start in range(0, num, self.batch_size):
            indices = np.arange(start, start + self.batch_size)
            labels = self.labels(self.batch_size, start)
            inputs = jax.device_put((indices, labels), self._batch_sharding)
            sample_batch = self._compiled(variables, *inputs)
            kept = min(self.batch_size, num - start)
            with stage:
                images = jax.block_until_ready(sample_batch(variables, self._key, *inputs))
                stage.advance(kept)
            yield np.asarray(images)[:kept], labels[:kept]

    def _compiled(self, *inputs: PyTree) -> jax.stages.Compiled:
        """Return the program that samples a batch, compiled at the first call."""
        if 'sampler' not in self._programs:
            variables, *rest = inputs
            self._programs['sampler'] = compiled(
                'the sampler', lambda: self._sample_batch.lower(variables, self._key, *rest)
            )
        return self._programs['sampler']

    def __call__(self, model: PyTree, num: int) -> tuple[np.ndarray, np.ndarray]:
        """Return images 0 to num - 1: ``(uint8 [num, H, W, C], labels int32 [num])``."""
        images, labels = zip(*self.batches(model, num), strict=True)
        return np.concatenate(images), np.concatenate(labels)
