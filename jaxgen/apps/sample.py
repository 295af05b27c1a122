"""The mode ``sample``: images of a trained model as files."""

from __future__ import annotations

import numpy as np
from etils import epath

from jaxgen.apps.config import Config
from jaxgen.apps.restore import restore
from jaxgen.io import images
from jaxgen.io.files import write_atomically
from jaxgen.io.run_directory import SAMPLES
from jaxgen.training.grids import LARGEST_GRID


def run(config: Config, workdir: epath.Path) -> None:
    """Write ``samples/<name>.npz``, a grid ``samples/<name>.png`` and a folder ``samples/<name>/`` of single PNGs.

    In the ``.npz``, ``labels`` index ``class_names``; they are -1 for a network that takes no class labels.
    """
    trained = restore(config, workdir)
    folder, name = workdir / SAMPLES, config.sample.name
    conditional = trained.method.capabilities.knows_classes
    samples: list[np.ndarray] = []
    labels: list[int] = []
    for batch, batch_labels in trained.sampler().batches(trained.model, config.sample.num):
        for image, label in zip(batch, batch_labels, strict=True):
            class_name = f'_{trained.class_names[label]}' if conditional else ''
            write_atomically(folder / name / f'{len(samples):06}{class_name}.png', images.png(image))
            samples.append(image)
            labels.append(label if conditional else -1)
        print(f'{len(samples)}/{config.sample.num} images', flush=True)
    named = {'labels': np.array(labels, np.int32), 'class_names': np.array(trained.class_names)}
    write_atomically(folder / f'{name}.npz', images.npz(images=np.stack(samples), **named))
    write_atomically(folder / f'{name}.png', images.png(images.grid(np.stack(samples[:LARGEST_GRID]))))
    print(
        f'{len(samples)} samples of step {trained.step}: {folder / name}.png (grid), {name}.npz, {name}/ (one file each)'
    )
