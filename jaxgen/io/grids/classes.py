"""Arrange grids of images by class, and choose evenly spread images of a long sequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxgen.io.grids.layout import NARROW_WIDTH, Labels, labelled

MOST_HEADS, MOST_ROWS = 10, 25  # largest number of classes with a column each, and with a row each
CAPTIONED_COLUMNS = 5  # images per row if each image has a caption


def by_class(
    images: np.ndarray,
    labels: Sequence[int] | np.ndarray | None,
    class_names: Sequence[str],
    title: str = '',
    *,
    narrow: bool = False,
) -> np.ndarray:
    """Arrange images of several classes in a grid that shows the class of each image.

    If the classes take turns, each class has a column, or a row if there are many classes. In any other order, and in a narrow
    grid, each image has its class as a caption.

    Args:
      images: uint8 ``[N, H, W, C]``.
      labels: the class of each image; None if the images have no classes.
      class_names: the name of each class.
      title: text above the grid.
      narrow: whether the grid has few columns, so that its labels are legible on a phone.

    Returns:
      uint8 ``[H', W', C]``.
    """
    names = [class_names[label] for label in ([] if labels is None else labels)]
    classes = list(dict.fromkeys(names))
    count = len(classes)
    if count < 2:
        heading = Labels(title=', '.join(filter(None, [title, *classes])))
        return _narrow(images, heading) if narrow else labelled(images, heading)
    if narrow:
        return _narrow(images, Labels(title, captions=names))
    take_turns = all(name == classes[i % count] for i, name in enumerate(names))
    if take_turns and count <= MOST_HEADS:
        return labelled(images, Labels(title, columns=classes))
    rounds = len(images) // count
    if take_turns and count <= MOST_ROWS and rounds > 1:
        order = np.arange(rounds * count).reshape(rounds, count).T.ravel()
        return labelled(images[order], Labels(title, rows=classes), columns=rounds)
    return labelled(images, Labels(title, captions=names), columns=CAPTIONED_COLUMNS)


def _narrow(images: np.ndarray, labels: Labels) -> np.ndarray:
    return labelled(images, labels, min(CAPTIONED_COLUMNS, len(images)), NARROW_WIDTH)


def spread(path: np.ndarray, largest: int) -> np.ndarray:
    """Return the indices of at most ``largest`` evenly spread entries of a path, including the first and the last."""
    return np.unique(np.linspace(0, len(path) - 1, largest).round().astype(int))
