"""Draw the grid of a page that shows several models.

``python -m docs.results.pictures few_calls runs/consistency runs/ddpm_cifar-edm``
``python -m docs.results.pictures r3gan_cifar runs/r3gan_cifar-small``
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np

import jaxgen
from jaxgen.io import images
from jaxgen.io.grids import Labels, labelled

FOLDER = pathlib.Path(__file__).parent
SEED = 1  # the metrics are of seed 0


def few_calls(tuned_run: str, run: str) -> np.ndarray:
    """Return a grid of a consistency model and of the model before tuning, with the same noise in all rows.

    Args:
      tuned_run: run directory of the model after consistency tuning.
      run: run directory of the model before tuning.
    """
    tuned, model = jaxgen.load(tuned_run), jaxgen.load(run)
    num = len(model.class_names)
    rows = {
        'consistency, 1 call': tuned.sample(num, seed=SEED, num_steps=1),
        'consistency, 2 calls': tuned.sample(num, seed=SEED, num_steps=2),
        'DDIM, 2 calls': model.sample(num, seed=SEED, sampler='ddim', num_steps=2, guidance_scale=1.0),
        'DPM-Solver++, 5 calls': model.sample(num, seed=SEED, num_steps=5, guidance_scale=1.0),
        'DPM-Solver++, 15 calls': model.sample(num, seed=SEED, num_steps=15, guidance_scale=1.0),
    }
    return labelled(np.concatenate(list(rows.values())), Labels(columns=model.class_names, rows=tuple(rows)))


def r3gan_cifar(r3gan_run: str) -> np.ndarray:
    """Return a grid with two rows of an R3GAN and two of the DCGAN.

    Args:
      r3gan_run: run directory of the R3GAN.
    """
    models = {'R3GAN': jaxgen.load(r3gan_run), 'DCGAN': jaxgen.load('pretrained/dcgan_cifar')}
    class_names = models['DCGAN'].class_names
    samples = [model.sample(2 * len(class_names), seed=SEED) for model in models.values()]
    names = [name for name in models for _ in range(2)]
    return labelled(np.concatenate(samples), Labels(columns=class_names, rows=names))


if __name__ == '__main__':
    draw = {'few_calls': few_calls, 'r3gan_cifar': r3gan_cifar}[sys.argv[1]]
    (FOLDER / f'{sys.argv[1]}.png').write_bytes(images.png(draw(*sys.argv[2:])))
