"""Grids that say which class each image has, and which entries of a long path a picture shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxgen.io.grids.layout import Labels, labelled

MOST_HEADS, MOST_ROWS = 10, 25  # classes that can have a column each, or a row each
CAPTIONED_COLUMNS = 5  # images in a row if each has a caption


def by_class(
    images: np.ndarray, labels: Sequence[int] | np.ndarray | None, class_names: Sequence[str], title: str = ''
) -> np.ndarray:
    """Arrange images of several classes so that the picture says which class each has.

    Classes that take turns have a column each, many of them a row each; any other order is told by a caption below each image.

    Args:
      images: uint8 ``[N, H, W, C]``.
      labels: the class of each image; None if classes mean nothing for these images.
      class_names: the names that labels index.
      title: text above the grid.

    Returns:
      uint8 ``[H', W', C]``.
    """
    names = [class_names[label] for label in ([] if labels is None else labels)]
    classes = list(dict.fromkeys(names))
    count = len(classes)
    if count < 2:
        return labelled(images, Labels(title=', '.join(filter(None, [title, *classes]))))
    take_turns = all(name == classes[i % count] for i, name in enumerate(names))
    if take_turns and count <= MOST_HEADS:
        return labelled(images, Labels(title, columns=classes))
    rounds = len(images) // count
    if take_turns and count <= MOST_ROWS and rounds > 1:
        order = np.arange(rounds * count).reshape(rounds, count).T.ravel()
        return labelled(images[order], Labels(title, rows=classes), columns=rounds)
    return labelled(images, Labels(title, captions=names), columns=CAPTIONED_COLUMNS)


def spread(path: np.ndarray, largest: int) -> np.ndarray:
    """Return the numbers of at most ``largest`` entries of a path, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, len(path) - 1, largest).round().astype(int))
