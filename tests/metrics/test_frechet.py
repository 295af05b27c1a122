"""The Frechet distance against closed forms and the matrix square root."""

import numpy as np
from scipy import linalg

from jaxgen.metrics.frechet import frechet_distance, frechet_distance_of_few
from jaxgen.metrics.moments import Moments

RNG = np.random.default_rng(0)


def gaussian(mean, covariance, count=1000):
    return Moments(count, np.asarray(mean, float), np.asarray(covariance, float) * (count - 1))


def test_frechet_distance_of_known_gaussians():
    a, b = np.array([4.0, 9.0, 0.25]), np.array([1.0, 16.0, 0.0])
    distance = frechet_distance(gaussian([1, 2, 3], np.diag(a)), gaussian([0, 4, 3], np.diag(b)))
    np.testing.assert_allclose(distance, 1 + 4 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2), rtol=1e-12)

    x, y = RNG.normal(size=(2, 6, 6))
    x, y = x @ x.T, y @ y.T
    expected = np.trace(x + y - 2 * linalg.sqrtm(x @ y).real)
    np.testing.assert_allclose(
        frechet_distance(gaussian(np.zeros(6), x), gaussian(np.zeros(6), y)), expected, rtol=1e-9
    )


def test_a_few_images_have_no_distance_from_themselves():
    moments = Moments.of(RNG.normal(5, 2, (20, 64)))
    assert abs(frechet_distance(moments, moments)) < 1e-4 * np.trace(moments.covariance)


def test_the_distance_of_few_images_is_the_same_number():
    a, b = RNG.normal(0, 1, (30, 8)), RNG.normal(0.3, 1.5, (50, 8))
    expected = frechet_distance(Moments.of(a), Moments.of(b))
    np.testing.assert_allclose(frechet_distance_of_few(a, b), expected, rtol=1e-9)
    few = RNG.normal(0, 1, (5, 40)), RNG.normal(0.3, 1.5, (7, 40))
    root = linalg.sqrtm(np.cov(few[0], rowvar=False) @ np.cov(few[1], rowvar=False) + 0j)
    apart = few[0].mean(0) - few[1].mean(0)
    expected = apart @ apart + sum(np.trace(np.cov(x, rowvar=False)) for x in few) - 2 * np.trace(root).real
    np.testing.assert_allclose(frechet_distance_of_few(*few), expected, rtol=1e-4)
