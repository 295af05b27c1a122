"""The grid of samples that is kept with a pretrained model, so that the page shows its images at once.

``python -m jaxgen.apps.demo.kept_grid pretrained/NAME ...`` makes it, with the seed and the settings of the model's config.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
from etils import epath

from jaxgen.apps import stored_config
from jaxgen.apps.devices import set_up
from jaxgen.apps.restore import restore
from jaxgen.apps.trained import Trained
from jaxgen.io import grids, images
from jaxgen.io.files import write_atomically
from jaxgen.io.run_directory import CONFIG

FILE = 'samples.png'  # in the run directory
ROWS = 4  # images of each class, if all classes have a column
SPREAD = 15  # classes that are shown, one image each, if there are too many for columns


def make(workdir: epath.Path) -> None:
    """Sample the grid of the model in a run directory, and write it to the file that the page looks for.

    Raises:
      UserError: if there is no model, or it cannot be read.
    """
    config = stored_config.read(workdir / CONFIG)
    set_up(config)
    write_atomically(workdir / FILE, picture(restore(config, workdir)))
    print(workdir / FILE)


def picture(trained: Trained) -> bytes:
    """Sample the grid of a model, and return it as a PNG file.

    Raises:
      UserError: if the method generates no images.
    """
    names = trained.class_names
    few = len(names) <= grids.MOST_HEADS
    chosen = tuple(names) if few else tuple(names[i] for i in grids.spread(np.empty(len(names)), SPREAD))
    num = ROWS * len(chosen) if few else SPREAD
    batch_size = num + -num % trained.mesh.size
    config = trained.config.replace({'sample.classes': chosen, 'sample.batch_size': batch_size})
    made, labels = dataclasses.replace(trained, config=config).sampler()(trained.model, num)
    conditions = labels if trained.method.capabilities.knows_classes else None
    return images.png(grids.by_class(made, conditions, names))


if __name__ == '__main__':
    for name in sys.argv[1:]:
        make(epath.Path(name))
