"""Figures of merit against closed forms, brute force and other libraries' formulas."""

import numpy as np
import pytest
from scipy import linalg

from jaxgen.metrics import scores
from jaxgen.metrics.scores import Moments

RNG = np.random.default_rng(0)


def gaussian(mean, covariance, count=1000):
    return Moments(count, np.asarray(mean, float), np.asarray(covariance, float) * (count - 1))


def test_frechet_distance_of_known_gaussians():
    a, b = np.array([4.0, 9.0, 0.25]), np.array([1.0, 16.0, 0.0])
    distance = scores.frechet_distance(gaussian([1, 2, 3], np.diag(a)), gaussian([0, 4, 3], np.diag(b)))
    np.testing.assert_allclose(distance, 1 + 4 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2), rtol=1e-12)

    x, y = RNG.normal(size=(2, 6, 6))
    x, y = x @ x.T, y @ y.T
    expected = np.trace(x + y - 2 * linalg.sqrtm(x @ y).real)
    np.testing.assert_allclose(
        scores.frechet_distance(gaussian(np.zeros(6), x), gaussian(np.zeros(6), y)), expected, rtol=1e-9
    )


def test_a_set_is_at_no_distance_from_itself_even_with_fewer_images_than_features():
    moments = Moments.of(RNG.normal(5, 2, (20, 64)))
    assert abs(scores.frechet_distance(moments, moments)) < 1e-4 * np.trace(moments.covariance)


def test_moments_do_not_depend_on_how_the_features_are_cut():
    features = RNG.normal(30, 0.1, (1000, 16)).astype(np.float32)
    whole = Moments.of(features)
    np.testing.assert_allclose(
        whole.covariance, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-9, atol=1e-12
    )
    reference = Moments.of(RNG.normal(30, 0.2, (1000, 16)))
    for sizes in ([1] * 1000, [64] * 15 + [40], [999, 1]):
        total, start = None, 0
        for size in sizes:
            part = Moments.of(features[start : start + size])
            total, start = part if total is None else total + part, start + size
        assert total.count == 1000
        np.testing.assert_allclose(
            scores.frechet_distance(total, reference), scores.frechet_distance(whole, reference), rtol=1e-8
        )


def test_frechet_distance_of_few_is_the_same_number():
    a, b = RNG.normal(0, 1, (30, 8)), RNG.normal(0.3, 1.5, (50, 8))
    expected = scores.frechet_distance(Moments.of(a), Moments.of(b))
    np.testing.assert_allclose(scores.frechet_distance_of_few(a, b), expected, rtol=1e-9)
    few = RNG.normal(0, 1, (5, 40)), RNG.normal(0.3, 1.5, (7, 40))
    root = linalg.sqrtm(np.cov(few[0], rowvar=False) @ np.cov(few[1], rowvar=False) + 0j)
    apart = few[0].mean(0) - few[1].mean(0)
    expected = apart @ apart + sum(np.trace(np.cov(x, rowvar=False)) for x in few) - 2 * np.trace(root).real
    np.testing.assert_allclose(scores.frechet_distance_of_few(*few), expected, rtol=1e-4)


def test_streamed_moments():
    features = RNG.normal(30, 0.1, (105, 4)).astype(np.float32)
    for rows in (1, 10, 105, 1000):
        np.testing.assert_allclose(
            Moments.streamed(features, rows).covariance, Moments.of(features).covariance, rtol=1e-9
        )


@pytest.mark.parametrize('real', [7, 5])
def test_kernel_distance_by_its_definition(real):
    x, y = RNG.normal(size=(5, 4)), RNG.normal(0.5, 1, (real, 4))
    got, spread = scores.kernel_distance(x, y, subsets=3, subset_size=6)
    rng, values = np.random.RandomState(2020), []
    for _ in range(3):
        a, b = x[rng.choice(5, 5, replace=False)], y[rng.choice(real, 5, replace=False)]

        def kernel(u, v):
            return (u @ v / 4 + 1) ** 3

        within = sum(kernel(s[i], s[j]) for s in (a, b) for i in range(5) for j in range(5) if i != j) / 20
        across = sum(kernel(u, v) for u in a for v in b) / 25
        values.append(within - 2 * across)
    np.testing.assert_allclose(got, np.mean(values), rtol=1e-10)
    if real == 5:  # every subset is the whole set
        assert spread is None and np.std(values) < 1e-12
    else:
        np.testing.assert_allclose(spread, np.std(values), rtol=1e-10)


def test_kernel_distance_is_unbiased():
    """Both sets of one law: the mean of independent estimates lies within five standard errors of zero."""
    values = [scores.kernel_distance(*RNG.normal(size=(2, 50, 8)), subsets=1)[0] for _ in range(400)]
    assert abs(np.mean(values)) < 5 * np.std(values) / np.sqrt(len(values))


@pytest.mark.parametrize('classes', [2, 10])
def test_inception_score_of_certain_and_of_ignorant_predictions(classes):
    certain = np.repeat(np.eye(classes) * 60, 100, axis=0)
    np.testing.assert_allclose(scores.inception_score(certain, splits=1), (classes, 0), rtol=1e-9)
    np.testing.assert_allclose(scores.inception_score(np.ones((100, classes))), (1, 0), atol=1e-12)


def test_inception_score_over_splits():
    logits = RNG.normal(0, 3, (105, 7))
    shuffled = logits[np.random.RandomState(2020).permutation(105)]
    values = []
    for part in (shuffled[:35], shuffled[35:70], shuffled[70:]):
        p = np.exp(part) / np.exp(part).sum(1, keepdims=True)
        values.append(np.exp(np.mean(np.sum(p * np.log(p / p.mean(0)), axis=1))))
    np.testing.assert_allclose(scores.inception_score(logits, splits=3), (np.mean(values), np.std(values)), rtol=1e-9)


def test_precision_and_recall_by_brute_force(monkeypatch):
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

    got = scores.precision_recall(fake, real)
    np.testing.assert_allclose(got, (share(fake, real), share(real, fake)))
    assert got[0] > got[1] > 0


def test_precision_and_recall_of_what_is_known():
    line = np.arange(10.0)[:, None]
    assert scores.precision_recall(line, line) == (1, 1)
    assert scores.precision_recall(line + 1000, line) == (0, 0)
    assert scores.precision_recall(line[:5], np.concatenate([line[:5], line[:5] + 1000])) == (1, 0.5)
