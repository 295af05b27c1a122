"""Drawing any number of images in batches of one compiled shape: the grids of training and mode=sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxgen.training.family import Family
from jaxgen.training.mesh import batch_sharding, replicated, state_shardings
from jaxgen.training.step import stream

Array = jax.Array


class Sampler:
    """Draws image i of a seed as a function of (seed, i) alone: its label is ``classes[i % len(classes)]``.

    Args:
      family: draws a batch.
      key: a root key; ``use`` names its stream that the images are drawn from.
      classes: labels to draw, in turn.
      batch_size: of the compiled function; the last batch of a request is filled up and cut.
    """

    def __init__(
        self,
        family: Family,
        key: Array,
        mesh: Mesh,
        model,
        classes: Sequence[int],
        batch_size: int,
        ema: bool = True,
        use: str = 'sample',
    ):
        self._classes = np.asarray(classes, np.int32)
        self._batch_size = batch_size
        self._sharding = batch_sharding(mesh)

        def draw(variables, indices, labels):
            keys = jax.vmap(jax.random.fold_in, (None, 0))(stream(key, use), indices)
            images = family.sample(variables, keys, labels)
            return jnp.clip(jnp.round((images + 1) * 127.5), 0, 255).astype(jnp.uint8)

        def prepare(model):
            return family.sampling_variables(model, stream(key, 'statistics'), ema)

        there = state_shardings(mesh, jax.eval_shape(prepare, model))
        self.variables = jax.jit(prepare, in_shardings=(state_shardings(mesh, model),), out_shardings=there)
        shardings = there, self._sharding, self._sharding
        self._draw = jax.jit(draw, in_shardings=shardings, out_shardings=replicated(mesh))

    def labels(self, num: int, start: int = 0) -> np.ndarray:
        """int32 ``[num]`` of the images from ``start`` on."""
        return self._classes[np.arange(start, start + num) % len(self._classes)]

    def batches(self, model, num: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images 0 .. num-1 as pieces ``(uint8 [n, H, W, C], labels int32 [n])``."""
        variables = self.variables(model)
        for start in range(0, num, self._batch_size):
            indices = np.arange(start, start + self._batch_size)
            labels = self.labels(self._batch_size, start)
            images = self._draw(variables, *jax.device_put((indices, labels), self._sharding))
            kept = min(self._batch_size, num - start)
            yield np.asarray(images)[:kept], labels[:kept]

    def __call__(self, model, num: int) -> tuple[np.ndarray, np.ndarray]:
        """All of them: ``(uint8 [num, H, W, C], labels int32 [num])``."""
        images, labels = zip(*self.batches(model, num), strict=True)
        return np.concatenate(images), np.concatenate(labels)
