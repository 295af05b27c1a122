"""Moments: the same for any pieces of the features."""

import numpy as np

from jaxgen.metrics.frechet import frechet_distance
from jaxgen.metrics.moments import Moments

RNG = np.random.default_rng(0)


def test_pieces_of_the_features_do_not_matter():
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
        np.testing.assert_allclose(frechet_distance(total, reference), frechet_distance(whole, reference), rtol=1e-8)


def test_streamed_moments_are_those_of_all_features():
    features = RNG.normal(30, 0.1, (105, 4)).astype(np.float32)
    for rows in (1, 10, 105, 1000):
        np.testing.assert_allclose(
            Moments.streamed(features, rows).covariance, Moments.of(features).covariance, rtol=1e-9
        )
