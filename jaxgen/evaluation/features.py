"""Features of images by a network, in one compiled shape over all devices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxgen.data.resize import clean_resize
from jaxgen.errors import pick
from jaxgen.evaluation import inception
from jaxgen.evaluation.weights import inception_variables
from jaxgen.training.mesh import batch_sharding, replicated

RESIZES = ('tf1', 'clean')


class InceptionFeatures:
    """The FID Inception network: ``features(batches)`` yields ``(features [N, 2048], logits [N, 1008] or None)``.

    Args:
      mesh: batches are cut over all its devices.
      path: of the weights, as in ``inception_variables``.
      batch_size: of the compiled function; every batch is filled up to it, and cut again.
      resize: ``tf1`` as in the graph of 2015, or ``clean``, antialiased bicubic on the host (Parmar et al. 2022).

    Attributes:
      name: what a protocol calls this network.
      weights_hash: of its tensors.
    """

    name = 'inception-2015-12-05'

    def __init__(self, mesh: Mesh, path: str = '', batch_size: int = 32, resize: str = 'tf1'):
        self.resize = pick(resize, RESIZES, 'config.evaluation.resize')
        variables, self.weights_hash = inception_variables(path)
        network = inception.Inception(classifier='fc' in variables['params'])
        self._batch_size = -(-batch_size // mesh.size) * mesh.size
        self._sharding = batch_sharding(mesh)
        self._variables = jax.device_put(variables, replicated(mesh))

        def forward(variables, images):
            x = inception.preprocess(images) if resize == 'tf1' else (images - 128.0) / 128.0
            return network.apply(variables, x)

        self._forward = jax.jit(
            forward, in_shardings=(replicated(mesh), self._sharding), out_shardings=replicated(mesh)
        )

    def __call__(self, batches: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """``batches``: uint8 ``[N, H, W, 1 or 3]``, of any length each; grey images count as three equal channels."""
        for batch in batches:
            for start in range(0, len(batch), self._batch_size):
                yield self._one(batch[start : start + self._batch_size])

    def _one(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        if images.shape[-1] == 1:
            images = images.repeat(3, axis=-1)
        if self.resize == 'clean':
            images = np.stack([clean_resize(image, inception.IMAGE_SIZE) for image in images])
        missing = self._batch_size - len(images)
        padded = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
        out = jax.device_get(self._forward(self._variables, jax.device_put(jnp.asarray(padded), self._sharding)))
        return jax.tree.map(lambda x: x[: len(images)], out)
