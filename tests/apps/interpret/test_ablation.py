"""Ablations on tiny models: what they change, with which controls, and how a classifier counts it."""

import dataclasses

import numpy as np
from scipy import stats

from jaxgen.apps.interpret.ablation import ClassPredictor, ablate, factors_of, random_channels
from jaxgen.apps.interpret.selectivity import Channel
from jaxgen.data import load
from jaxgen.metrics.class_accuracy import find_classifier
from tests.helpers.interpretation import blocks_of, sample_scaled


def test_times_one_is_the_same_bit_for_bit(trained):
    trained, _ = trained
    blocks = blocks_of(trained)
    expected, labels = trained.sampler(0, 'interpretation')(trained.model, 20)
    got, same = sample_scaled(trained, factors_of(blocks, (), 1.0))
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(same, labels)
    first = next(iter(blocks))
    other, _ = sample_scaled(trained, factors_of(blocks, [Channel(first, c) for c in range(blocks[first])], 5.0))
    assert np.any(other != expected)


def test_controls_are_other_channels_of_the_same_blocks():
    blocks = {'a': 6, 'b': 3}
    chosen = [Channel('a', 1), Channel('b', 0), Channel('a', 5), Channel('b', 1)]
    for seed in range(20):
        controls = random_channels(blocks, chosen, np.random.default_rng(seed))
        assert sorted(c.block for c in controls) == ['a', 'a', 'b'] and len(set(controls)) == 3  # b has one other
        assert not set(controls) & set(chosen)


class Shade:
    """Predicts the class asked for, these being in turn, for images brighter than half of the first ones it was shown."""

    def __init__(self):
        self.half = None

    def __call__(self, images):
        brightness = images.mean((1, 2, 3))
        self.half = np.median(brightness) if self.half is None else self.half
        return np.where(brightness > self.half, np.arange(len(images)) % 10, -1)


def paired(after, before):
    """Return the interval of Bonett & Price 2012: one more image that changed each way, two images more in all."""
    n = len(after) + 2
    won, lost = (np.sum(after > before) + 1) / n, (np.sum(after < before) + 1) / n
    half = stats.norm.ppf(0.975) * np.sqrt((won + lost - (won - lost) ** 2) / n)
    return np.mean(after.astype(float) - before), max(won - lost - half, -1), min(won - lost + half, 1)


def test_effects_are_of_the_same_images(trained):
    trained, _ = trained
    options = dataclasses.replace(trained.config.interpret, images_per_class=10)
    blocks = blocks_of(trained)
    chosen = {'3': [Channel(list(blocks)[-1], c) for c in range(4)]}
    done, shade = [], Shade()
    found = ablate(trained, options, shade, chosen, blocks, progress=done.append)
    assert [(e.factor, e.control) for e in found.effects] == [(0.0, 0), (2.0, 0), (0.0, 1), (2.0, 1)] and done[-1] == 5
    labels = np.arange(100) % 10
    np.testing.assert_array_equal(found.labels, labels)
    assert 0 < found.right[labels == 3].sum() < 10 and 40 < found.right.sum() <= 50
    for effect in found.effects:
        images, _ = sample_scaled(trained, factors_of(blocks, effect.channels, effect.factor), 100)
        right = images.mean((1, 2, 3)) > shade.half
        np.testing.assert_array_equal(effect.right, right)
        np.testing.assert_array_equal(effect.images, images[labels == 3][:8])
        of_class = labels == 3
        np.testing.assert_allclose(effect.on_class, paired(right[of_class], found.right[of_class]), atol=1e-12)
        np.testing.assert_allclose(effect.on_others, paired(right[~of_class], found.right[~of_class]), atol=1e-12)
    flipped = [e.right != found.right for e in found.effects[:2]]
    assert all(x[labels == 3].any() and x[labels != 3].any() and not x.all() for x in flipped)
    assert len(found.images['3']) == 8


def test_predictions_count_classes_as_the_model_does(dcgan):
    trained, _ = dcgan
    classifier = find_classifier('digits')
    real = load('digits', 'test')
    predicted = ClassPredictor(trained, classifier)(real.images[:100])
    assert np.mean(predicted == real.labels[:100]) > 0.95
