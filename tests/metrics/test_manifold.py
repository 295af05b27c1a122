"""Precision and recall against brute force and known manifolds."""

import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.metrics.manifold import precision_recall

RNG = np.random.default_rng(0)


def test_precision_and_recall_by_brute_force():
    fake, real = RNG.normal(0, 0.6, (60, 3)), RNG.normal(0.3, 1, (45, 3))

    def share(points, manifold):
        inside = 0
        for p in points:
            for m in manifold:
                radius = np.sort(np.linalg.norm(manifold - m, axis=1))[3]
                if np.linalg.norm(p - m) <= radius:
                    inside += 1
                    break
        return inside / len(points)

    got = precision_recall(fake, real)
    np.testing.assert_allclose(got, (share(fake, real), share(real, fake)))
    assert got[0] > got[1] > 0


def test_precision_and_recall_of_known_manifolds():
    line = np.arange(10.0)[:, None]
    assert precision_recall(line, line) == (1, 1)
    assert precision_recall(line + 1000, line) == (0, 0)
    assert precision_recall(line[:5], np.concatenate([line[:5], line[:5] + 1000])) == (1, 0.5)


def test_too_few_images_are_refused():
    with pytest.raises(UserError, match='more than 3 images in each set'):
        precision_recall(np.zeros((3, 2)), np.zeros((9, 2)))
