"""The Inception Score of known predictions, and against its definition."""

import numpy as np
import pytest

from jaxgen.metrics.class_probabilities import inception_score

RNG = np.random.default_rng(0)


@pytest.mark.parametrize('classes', [2, 10])
def test_certain_and_uniform_predictions(classes):
    certain = np.repeat(np.eye(classes) * 60, 100, axis=0)
    np.testing.assert_allclose(inception_score(certain, splits=1), (classes, 0), rtol=1e-9)
    np.testing.assert_allclose(inception_score(np.ones((100, classes))), (1, 0), atol=1e-12)


def test_inception_score_over_splits():
    logits = RNG.normal(0, 3, (105, 7))
    shuffled = logits[np.random.RandomState(2020).permutation(105)]
    values = []
    for part in (shuffled[:35], shuffled[35:70], shuffled[70:]):
        p = np.exp(part) / np.exp(part).sum(1, keepdims=True)
        values.append(np.exp(np.mean(np.sum(p * np.log(p / p.mean(0)), axis=1))))
    np.testing.assert_allclose(inception_score(logits, splits=3), (np.mean(values), np.std(values)), rtol=1e-9)
