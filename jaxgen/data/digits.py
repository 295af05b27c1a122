"""scikit-learn's handwritten digits (UCI optdigits test set): 1,797 real 8x8 grey images, embedded, no download."""

from __future__ import annotations

import numpy as np

TEST_SIZE = 360


def read(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 ``[N, 8, 8, 1]`` and labels ``[N]``: 1,437 to train, 360 held out by a fixed permutation."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.RandomState(0).permutation(len(data.images))
    chosen = np.sort(order[:TEST_SIZE] if split == 'test' else order[TEST_SIZE:])
    images = np.round(data.images[chosen] * (255 / 16)).astype(np.uint8)
    return images[..., None], data.target[chosen]
