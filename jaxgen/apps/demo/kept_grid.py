"""The grid of samples that is stored with a pretrained model, so that the page shows images of the model at once.

``python -m jaxgen.apps.demo.kept_grid pretrained/NAME ...`` makes it with the seed and the settings of the model's config.
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

FILE, NARROW_FILE = 'samples.png', 'samples_narrow.png'  # in the run directory
ROWS = 4  # images of each class, if all classes have a column
SPREAD = 15  # classes that are shown, one image each, if there are too many for columns
IN_NARROW = 20  # largest number of images in the narrow grid


def make(workdir: epath.Path) -> None:
    """Sample the grid of the model in a run directory, and write it to the two files that the page looks for.

    Raises:
      UserError: if there is no model, or it cannot be read.
    """
    config = stored_config.read(workdir / CONFIG)
    set_up(config)
    for file, content in zip((FILE, NARROW_FILE), _pictures(restore(config, workdir)), strict=True):
        write_atomically(workdir / file, content)
        print(workdir / file)


def picture(trained: Trained) -> bytes:
    """Sample the grid of a model, and return it as a PNG file.

    Raises:
      UserError: if the method generates no images.
    """
    return _pictures(trained)[0]


def _pictures(trained: Trained) -> tuple[bytes, bytes]:
    """Sample the grid of a model, and return it as two PNG files: wide, and narrow for phones."""
    names = trained.class_names
    few = len(names) <= grids.MOST_HEADS
    chosen = tuple(names) if few else tuple(names[i] for i in grids.spread(np.empty(len(names)), SPREAD))
    num = ROWS * len(chosen) if few else SPREAD
    batch_size = num + -num % trained.mesh.size
    config = trained.config.replace({'sample.classes': chosen, 'sample.batch_size': batch_size})
    made, labels = dataclasses.replace(trained, config=config).sampler()(trained.model, num)
    conditions = labels if trained.method.capabilities.knows_classes else None
    some = None if conditions is None else conditions[:IN_NARROW]
    wide = grids.by_class(made, conditions, names)
    return images.png(wide), images.png(grids.by_class(made[:IN_NARROW], some, names, narrow=True))


if __name__ == '__main__':
    for name in sys.argv[1:]:
        make(epath.Path(name))
