"""The registry of metrics: random subsets for precision and recall, and their entries in the protocol."""

import json

import numpy as np
import pytest

from jaxgen.metrics import registry
from jaxgen.metrics.features import Features
from jaxgen.metrics.manifold import density_coverage, precision_recall
from jaxgen.metrics.registry import METRICS, Pair, parameters
from jaxgen.metrics.sets.image_sets import SUBSET_SEED

RNG = np.random.default_rng(0)


def test_precision_and_recall_use_a_random_subset(monkeypatch):
    """The features are sorted by class: if only the first ones were used, a model of all classes would seem poor."""
    monkeypatch.setattr(registry, 'MANIFOLD_IMAGES', 40)
    centres = 100 * np.eye(4, 6).repeat(30, axis=0)
    fake, real = ((centres + RNG.normal(size=(120, 6))).astype(np.float32) for _ in range(2))
    found = METRICS['precision_recall'](Pair(Features(fake[::-1].copy(), None), Features(real, None)))
    chosen = np.random.RandomState(SUBSET_SEED).choice(120, 40, replace=False)
    expected = precision_recall(fake[::-1][chosen], real[chosen])
    assert (found['precision'], found['recall']) == expected
    assert min(expected) > 0.5 > precision_recall(fake[::-1][:40], real[:40])[0]


def test_the_protocol_names_the_seed_of_a_subset():
    limit = registry.MANIFOLD_IMAGES
    assert parameters(limit, 3) == registry.PARAMETERS
    for counts in ((limit + 1, 3), (3, limit + 1)):
        assert parameters(*counts) == {**registry.PARAMETERS, 'manifold_subset_seed': SUBSET_SEED}


def test_only_protocols_with_density_name_its_neighbours():
    assert parameters(9, 9, metrics=('fid', 'precision_recall')) == registry.PARAMETERS
    assert parameters(9, 9, metrics=('density_coverage',)) == {**registry.PARAMETERS, 'coverage_neighbours': 5}


def test_density_and_coverage_use_the_same_subset(monkeypatch):
    monkeypatch.setattr(registry, 'MANIFOLD_IMAGES', 40)
    fake, real = RNG.normal(size=(2, 60, 4)).astype(np.float32)
    found = METRICS['density_coverage'](Pair(Features(fake, None), Features(real, None)))
    chosen = np.random.RandomState(SUBSET_SEED).choice(60, 40, replace=False)
    assert (found['density'], found['coverage']) == density_coverage(fake[chosen], real[chosen])


def test_small_sets_are_used_completely():
    features = [Features(RNG.normal(size=(n, 3)).astype(np.float32), None) for n in (30, 20)]
    found = METRICS['precision_recall'](Pair(*features))
    assert (found['precision'], found['recall']) == precision_recall(*(f.features for f in features))


@pytest.mark.parametrize('name', METRICS)
def test_a_metric_is_numbers_and_the_order_of_the_images_does_not_matter(name, monkeypatch):
    monkeypatch.setattr(registry, 'FEWEST_OF_A_CLASS', 10)
    monkeypatch.setattr(registry, 'INCEPTION_SCORE_SPLITS', 1)  # splits depend on the order
    sets = RNG.normal(size=(2, 40, 6)).astype(np.float32)
    labels, order = np.arange(40, dtype=np.int32) % 2, RNG.permutation(40)

    def found(order, *classes):
        fake, real = (Features(x[order], x[order]) for x in sets)
        known = [labels[order], labels[order], classes] if classes else []
        return json.loads(json.dumps(METRICS[name](Pair(fake, real, *known))))

    for classes in ((), ('cat', 'dog')):
        first, second = found(np.arange(40), *classes), found(order, *classes)
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert value is None or second[key] == pytest.approx(value, rel=1e-5), key
