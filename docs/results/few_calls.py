"""Draw the picture of few network calls: ``python -m docs.results.few_calls runs/ddpm_cifar-consistency``."""

from __future__ import annotations

import pathlib
import sys

import numpy as np

import jaxgen
from jaxgen.io import images
from jaxgen.io.grids import Labels, labelled

PICTURE = pathlib.Path(__file__).parent / 'recipes_few_calls.png'
SEED = 1  # the metrics are of seed 0


def draw(tuned_run: str) -> np.ndarray:
    """Return a grid with an image of each class a column and a way to sample a row, all of the same noise.

    Args:
      tuned_run: run directory of the model after consistency tuning.
    """
    tuned, model = jaxgen.load(tuned_run), jaxgen.load('pretrained/ddpm_cifar')
    num = len(model.class_names)
    rows = {
        'consistency, 1 call': tuned.sample(num, seed=SEED, num_steps=1),
        'consistency, 2 calls': tuned.sample(num, seed=SEED, num_steps=2),
        'DDIM, 2 calls': model.sample(num, seed=SEED, sampler='ddim', num_steps=2, guidance_scale=1.0),
        'DPM-Solver++, 5 calls': model.sample(num, seed=SEED, num_steps=5, guidance_scale=1.0),
        'DPM-Solver++, 15 calls': model.sample(num, seed=SEED, num_steps=15, guidance_scale=1.0),
    }
    return labelled(np.concatenate(list(rows.values())), Labels(columns=model.class_names, rows=tuple(rows)))


if __name__ == '__main__':
    PICTURE.write_bytes(images.png(draw(sys.argv[1])))
