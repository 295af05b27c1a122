"""scikit-learn's handwritten digits: 1,797 grey images of 8x8 pixels (the UCI optdigits test set), without a download."""

from __future__ import annotations

import numpy as np

TEST_SIZE = 360


def read(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images uint8 ``[N, 8, 8, 1]`` and labels ``[N]`` of a split.

    A fixed permutation chooses the 360 images of the test split; the training split has the other 1,437.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.RandomState(0).permutation(len(data.images))
    chosen = np.sort(order[:TEST_SIZE] if split == 'test' else order[TEST_SIZE:])
    images = np.round(data.images[chosen] * (255 / 16)).astype(np.uint8)
    return images[..., None], data.target[chosen]
