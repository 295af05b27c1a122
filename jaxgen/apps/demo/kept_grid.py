"""The grid of samples that is kept with a pretrained model, so that the page shows its images at once.

``python -m jaxgen.apps.demo.kept_grid pretrained/NAME ...`` makes it, with the seed and the settings of the model's config.
"""

from __future__ import annotations

import sys

import jax
import numpy as np
from etils import epath

from jaxgen.apps import data, stored_config
from jaxgen.apps.devices import set_up
from jaxgen.apps.restore import restore
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
    names = data.facts(config).class_names
    few = len(names) <= grids.MOST_HEADS
    chosen = tuple(names) if few else tuple(names[i] for i in grids.spread(np.empty(len(names)), SPREAD))
    num = ROWS * len(chosen) if few else SPREAD
    batch_size = num + -num % jax.device_count()
    trained = restore(config.replace({'sample.classes': chosen, 'sample.batch_size': batch_size}), workdir)
    made, labels = trained.sampler()(trained.model, num)
    told = labels if trained.method.capabilities.knows_classes else None
    write_atomically(workdir / FILE, images.png(grids.by_class(made, told, names)))
    print(f'{workdir / FILE}: {num} samples')


if __name__ == '__main__':
    for name in sys.argv[1:]:
        make(epath.Path(name))
