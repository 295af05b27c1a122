"""Precision and recall, density and coverage, against direct transcriptions of their definitions and known manifolds."""

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from jaxgen.errors import UserError
from jaxgen.metrics.manifold import density_coverage, precision_recall

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


@pytest.mark.parametrize('neighbours', [1, 5])
def test_density_and_coverage_by_their_definition(neighbours):
    """The sums of Naeem et al. 2020, with the distances of scikit-learn."""
    fake, real = RNG.normal(0.2, 0.8, (70, 4)), RNG.normal(0, 1, (55, 4))
    radii = np.sort(pairwise_distances(real), axis=1)[:, neighbours]  # the nearest is the point itself
    inside = pairwise_distances(fake, real) < radii
    expected = sum(inside[j, i] for j in range(70) for i in range(55)) / (neighbours * 70), inside.any(0).mean()
    np.testing.assert_allclose(density_coverage(fake, real, neighbours), expected)
    assert 0 < expected[1] < 1


def test_density_and_coverage_of_known_manifolds():
    line = np.arange(4.0)[:, None]
    between = np.array([[0.5], [10.0]])  # one inside the balls around 0 and 1, one in no ball
    assert density_coverage(between, line, 1) == (2 / 2, 2 / 4)
    assert density_coverage(line[1:2], line, 1) == (1, 1 / 4)  # on the surface of the balls around 0 and 2
    assert density_coverage(line[:1] + 0.25, line[[0, 1, 3]], 2) == (3 / 2, 1)
    assert density_coverage(line + 1000, line, 1) == (0, 0)


def test_a_set_covers_itself():
    """A ball contains its centre and all nearest neighbours before the k-th."""
    points = RNG.permutation(1000)[:40, None] ** 2.0  # no two distances of a point are the same
    assert density_coverage(points, points) == (1, 1)


def test_samples_of_the_same_distribution_have_a_density_of_one():
    fake, real = RNG.normal(size=(2, 4000, 2))
    density, coverage = density_coverage(fake, real)
    assert abs(density - 1) < 0.03
    assert abs(coverage - (1 - 0.5**5)) < 0.02  # the expected coverage for sets of equal size


def test_too_few_images_for_density_and_coverage_are_refused():
    for fake, real in ((0, 9), (4, 5)):
        with pytest.raises(UserError, match='a generated image and more than 5 reference images'):
            density_coverage(np.zeros((fake, 2)), np.zeros((real, 2)))
    assert density_coverage(np.zeros((1, 2)), RNG.normal(size=(6, 2)))[0] >= 0
