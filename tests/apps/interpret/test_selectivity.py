"""Selectivity of channels that are made to be selective or not, against scikit-learn and SciPy, and by chance alone."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mutual_info_score

from jaxgen.apps.interpret import intervals, selectivity
from jaxgen.apps.interpret.activations import Atlas
from jaxgen.apps.interpret.intervals import difference, permutation_test, proportion
from jaxgen.apps.interpret.selectivity import (
    Channel,
    benjamini_hochberg,
    class_indices,
    information,
    quantile_bins,
    scaled_to_unit,
)
from tests.tiny import tiny_config

K, N = 4, 80
LABELS = np.arange(N, dtype=np.int32) % K
MEMBERS = jnp.asarray(np.eye(K)[LABELS])


def measured(channels, seed=0, permutations=300):
    """Return the selectivity of activations ``[N, C]`` as one block at one noise level."""
    kept = {'block': np.asarray(channels, np.float32)[:, None]}
    atlas = Atlas('net', ('t=0',), {}, np.bincount(LABELS), kept, LABELS)
    options = tiny_config(**{'interpret.permutations': permutations, 'interpret.bins': 4}).interpret
    return selectivity.measure_selectivity(atlas, K, options, jax.random.key(seed))


def test_a_channel_that_answers_to_one_class():
    rng = np.random.default_rng(0)
    high, noise = (LABELS == 2).astype(float), rng.normal(size=N)
    found = measured(np.stack([high, -5 * high + 3, noise, np.zeros(N)], 1))
    index, shared = found.index, found.information
    np.testing.assert_allclose(index.value['block'][0, :2], 1, atol=1e-6)
    np.testing.assert_allclose(index.p['block'][0, :2], 1 / 301)
    np.testing.assert_allclose(shared.p['block'][0, :2], 1 / 301)
    np.testing.assert_allclose(index.strict['block'][0, :2], 1 / 301)
    assert found.by_class['block'][0, :, 0].argmax() == found.by_class['block'][0, :, 1].argmax() == 2
    assert not found.low['block'][0, 2, 0] and found.low['block'][0, 2, 1]
    for test in (index, shared):
        assert test.q['block'][0, 2] > 0.05 and test.strict['block'][0, 2] > 0.05
        assert test.p['block'][0, 3] == 1 and test.value['block'][0, 3] == 0 and test.shuffled == 0
    # One class of four, told for certain, is H(1/4) bits.
    np.testing.assert_allclose(shared.value['block'][0, 0], 2 - 0.75 * np.log2(3), rtol=1e-5)
    assert set(selectivity.channels_of_class(found, 2, ['block'], 2)) == {Channel('block', 0), Channel('block', 1)}


def test_the_index_of_positive_activations_is_that_of_morcos():
    activations = np.random.default_rng(1).gamma(1.0, size=(N, 5))
    activations[0] = 0  # nothing is shifted
    means = np.stack([activations[k == LABELS].mean(0) for k in range(K)])
    best = means.argmax(0)
    largest = means.max(0)
    rest = np.stack([activations[k != LABELS, c].mean() for c, k in enumerate(best)])
    high, low = class_indices(MEMBERS, scaled_to_unit(jnp.asarray(activations)))
    np.testing.assert_allclose(np.max(high, 0), (largest - rest) / (largest + rest), rtol=1e-4)
    again = class_indices(MEMBERS, scaled_to_unit(jnp.asarray(-3 * activations + 7)))
    np.testing.assert_allclose(again, [low, high], atol=1e-5)


def test_information_is_that_of_scikit_learn():
    activations = np.random.default_rng(2).normal(size=(N, 6)) + LABELS[:, None] * np.linspace(0, 1, 6)
    bins = quantile_bins(activations, 5)
    assert all(set(np.bincount(column)) == {16} for column in bins.T)
    got = information(MEMBERS, jnp.asarray(bins[:, None] == np.arange(5)[:, None], jnp.float32))
    expected = [mutual_info_score(LABELS, column) / np.log(2) for column in bins.T]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_equal_activations_share_a_bin():
    assert set(quantile_bins(np.array([[0.0], [0.0], [0.0], [1.0]]), 4).ravel()[:3]) == {0}


def test_the_correction_is_that_of_scipy():
    p = np.random.default_rng(3).uniform(size=50) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p))


def test_discoveries_in_noise_are_as_rare_as_promised():
    """Of 100 networks of 20 noisy, correlated channels at most 5% should have any: 11 or more come once in 90 times."""
    rng = np.random.default_rng(4)
    tests, p = {'index': [0, 0], 'information': [0, 0]}, []
    for seed in range(100):
        channels = rng.normal(size=(N, 20)) ** 3 + rng.normal(size=(N, 1))
        found = measured(channels, seed, permutations=99)
        for name, discovered in tests.items():
            test = getattr(found, name)
            discovered[0] += np.any(test.q['block'] <= 0.05)
            discovered[1] += np.any(test.strict['block'] <= 0.05)
        p.append(found.index.p['block'])
    assert max(max(discovered) for discovered in tests.values()) <= 10, tests
    assert abs(np.mean(p) - 0.5) < 0.03


def test_signals_among_noise_are_found():
    rng = np.random.default_rng(5)
    signal = 2.0 * (LABELS[:, None] == np.arange(10) % K)
    found = measured(rng.normal(size=(N, 100)) + np.pad(signal, ((0, 0), (0, 90))), permutations=999)
    for test in (found.index, found.information):
        discovered = test.q['block'][0] <= 0.05
        assert discovered[:10].sum() >= 9 and discovered[10:].sum() <= 2


@pytest.mark.parametrize('hits', [0, 3, 20])
def test_the_interval_of_a_proportion_is_that_of_scipy(hits):
    got = proportion(np.arange(20) < hits)
    expected = stats.binomtest(hits, 20).proportion_ci(method='wilson')
    np.testing.assert_allclose(got, (hits / 20, expected.low, expected.high), atol=1e-12)


def test_the_interval_of_a_difference_covers_it():
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(2000):
        before, change = rng.uniform(size=30) < 0.9, rng.uniform(size=30) < 0.3
        got = difference(before & ~change, before)
        covered += got.low <= -0.27 <= got.high
        assert got.low <= got.value <= got.high
    assert 0.93 <= covered / 2000 <= 0.99
    same = difference(before, before)
    assert same.value == 0 and same.low < 0 < same.high


@pytest.mark.parametrize(('classes', 'random'), [(1, 3), (2, 1), (3, 2), (4, 3)])
def test_a_permutation_test_counts_all_permutations(classes, random, monkeypatch):
    draws = np.random.default_rng(7).integers(0, 4, (classes, random + 1)) / 10  # with ties
    draws[:, 0] += 0.2

    def apart(own):
        return np.mean([x[i] - np.delete(x, i).mean() for x, i in zip(draws, own, strict=True)])

    every = [abs(apart(own)) for own in itertools.product(range(random + 1), repeat=classes)]
    expected = apart([0] * classes), np.mean(np.array(every) >= abs(apart([0] * classes)) - 1e-9)
    assert 0 < expected[1] < 1 or random == 1
    np.testing.assert_allclose(permutation_test(draws, 0), expected)
    np.testing.assert_allclose(permutation_test(-draws, 0), (-expected[0], expected[1]))
    monkeypatch.setattr(intervals, 'MAX_EXACT', 1)
    drawn = permutation_test(draws, 0)
    assert drawn == permutation_test(draws, 0) and drawn.value == pytest.approx(expected[0])
    assert (
        abs(drawn.p - expected[1]) < 4 * np.sqrt(expected[1] * (1 - expected[1]) / intervals.RANDOM_PERMUTATIONS) + 2e-4
    )


@pytest.mark.parametrize('exact', [100_000, 1])
def test_p_is_uniform_for_exchangeable_values(exact, monkeypatch):
    """Over 500 sets of classes that differ in their mean and spread; Kolmogorov's distance of 0.073 comes once in 100."""
    monkeypatch.setattr(intervals, 'MAX_EXACT', exact)
    monkeypatch.setattr(intervals, 'RANDOM_PERMUTATIONS', 500)
    rng = np.random.default_rng(8)
    p = [
        permutation_test(rng.normal(size=(5, 4)) * [[1], [2], [3], [4], [5]] + rng.normal(size=(5, 1)), i).p
        for i in range(500)
    ]
    assert stats.kstest(p, 'uniform').statistic < 0.073
    # What is different is found.
    p = [permutation_test(rng.normal(size=(5, 4)) + [2, 0, 0, 0], i).p for i in range(50)]
    assert np.mean(np.array(p) < 0.05) > 0.9 and min(p) > 0
