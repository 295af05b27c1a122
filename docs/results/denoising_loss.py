"""Store the loss of trained denoisers on held-out images at fixed noise levels.

``python -m docs.results.denoising_loss FILE.json runs/NAME ...``, for models of CIFAR-10 with ``diffusion.schedule=edm``.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

import jaxgen
from jaxgen.apps.load import Model
from jaxgen.data import load
from jaxgen.diffusion import Level
from jaxgen.io.images import from_uint8
from jaxgen.types import Array

SIGMAS = (0.3, 1.0, 2.0, 4.0, 8.0, 16.0)
SIGMA_DATA = 0.5
IMAGES, BATCH = 1000, 200


def losses(model: Model, images: Array, labels: Array) -> np.ndarray:
    """Return the loss of Karras et al. 2022, table 1, at each of ``SIGMAS``, with the weights that sampling uses.

    Every model gets the same noise.

    Args:
      model: a denoiser.
      images: [n, h, w, c] in [-1, 1].
      labels: [n], the class of each image.
    """
    variables = {'params': model.params}

    @jax.jit
    def squared_error(x0: Array, labels: Array, sigma: Array, key: Array) -> Array:
        x = x0 + sigma * jax.random.normal(key, x0.shape)
        level = Level(jnp.ones(()), sigma, jnp.log(sigma) / 4)
        return jnp.mean((model.method.predictor(variables, labels, clip=False)(x, level).mean - x0) ** 2)

    found = []
    for sigma in SIGMAS:
        errors = []
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            key = jax.random.fold_in(jax.random.key(0), start)
            errors.append(squared_error(images[part], labels[part], jnp.float32(sigma), key))
        weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
        found.append(weight * np.mean(errors))
    return np.array(found)


def main(file: str, runs: Sequence[str]) -> None:
    """Write the losses of the models in some run directories, on the first images of the test split, to a JSON file."""
    test = load('cifar10', 'test')
    images, labels = from_uint8(jnp.asarray(test.images[:IMAGES])), jnp.asarray(test.labels[:IMAGES])
    found = []
    for run in runs:
        model = jaxgen.load(run)
        by_sigma = {
            f'{sigma:g}': round(float(loss), 5)
            for sigma, loss in zip(SIGMAS, losses(model, images, labels), strict=True)
        }
        print(f'{run}, step {model.step:,}: {by_sigma}')
        found.append({'run': pathlib.Path(run).name, 'step': model.step, 'images': IMAGES, 'loss': by_sigma})
    pathlib.Path(file).write_text(json.dumps(found, indent=1) + '\n')


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2:])
