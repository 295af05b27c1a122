"""The judge of digits tells digits from noise, from one class, and from copies of the training set."""

import numpy as np
import pytest

from jaxgen.data import load
from jaxgen.evaluation.digits import judge


@pytest.fixture(scope='module')
def train():
    return load('digits', 'train')


def test_real_digits_pass_and_copies_are_seen(train):
    got = judge(train.images, train.labels)
    for figures in got.values():
        assert figures['confident'] > 0.9 and figures['right_class'] > 0.95
        assert all(0.04 < share < 0.2 for share in figures['classes'])
    assert max(got['samples']['distance_to_training']) < 1e-6  # rounding of a^2 + b^2 - 2ab
    assert got['held_out']['distance_to_training'][0] > 0.5


def test_blends_of_two_digits_do_not_pass(train):
    other = np.random.default_rng(0).permutation(len(train.images))
    blends = ((train.images.astype(int) + train.images[other]) // 2).astype(np.uint8)
    got = judge(blends, train.labels)['samples']
    assert got['confident'] < 0.7 and got['right_class'] < 0.7


def test_one_class_alone_shows_in_the_shares(train):
    zeros = train.labels == 0
    assert judge(train.images[zeros], train.labels[zeros])['samples']['classes'][0] > 0.95
