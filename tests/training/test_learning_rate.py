"""The learning rate over the updates, against the formula of each decay."""

import numpy as np
import pytest

from jaxgen.apps.rules import validate
from jaxgen.apps.same_run import require_same, run_fields
from jaxgen.apps.untrained import build_method
from jaxgen.errors import UserError
from jaxgen.optim.options import DECAYS
from jaxgen.optim.schedules import learning_rate
from tests.tiny import tiny_config

STEPS = np.arange(0, 1300)


def rates(**fields):
    config = tiny_config(
        **{'train.steps': 1000, 'optimizer.learning_rate': 0.5, 'optimizer.warmup_steps': 100} | fields
    )
    validate(config)
    schedule = learning_rate(config.optimizer.resolved(config.train.steps))
    return np.array([schedule(step) for step in STEPS])


def test_without_decay_it_stays_after_the_warm_up():
    np.testing.assert_allclose(rates(), 0.5 * np.minimum(STEPS / 100, 1), rtol=1e-6)


def test_cosine_falls_from_the_warm_up_to_the_end_of_the_run():
    part = np.clip((STEPS - 100) / 900, 0, 1)
    expected = 0.5 * np.minimum(STEPS / 100, 1) * (1 + np.cos(np.pi * part)) / 2
    np.testing.assert_allclose(rates(**{'optimizer.decay': 'cosine'}), expected, atol=1e-7)


def test_cosine_can_end_above_zero():
    part = np.clip((STEPS - 100) / 900, 0, 1)
    expected = 0.5 * np.minimum(STEPS / 100, 1) * (0.25 + 0.75 * (1 + np.cos(np.pi * part)) / 2)
    np.testing.assert_allclose(rates(**{'optimizer.decay': 'cosine', 'optimizer.decay_to': 0.25}), expected, atol=1e-7)


def test_linear_cools_down_over_the_last_fifth():
    expected = 0.5 * np.minimum(STEPS / 100, 1) * np.clip((1000 - STEPS) / 200, 0, 1)
    np.testing.assert_allclose(rates(**{'optimizer.decay': 'linear'}), expected, atol=1e-7)


def test_inverse_sqrt_falls_from_its_start():
    fields = {'optimizer.decay': 'inverse_sqrt', 'optimizer.decay_start': 250}
    expected = 0.5 * np.minimum(STEPS / 100, 1) / np.sqrt(np.maximum(STEPS / 250, 1))
    np.testing.assert_allclose(rates(**fields), expected, rtol=1e-6)


def test_inverse_sqrt_starts_after_the_warm_up_and_cools_down():
    fields = {'optimizer.decay': 'inverse_sqrt', 'optimizer.cooldown_steps': 300}
    expected = 0.5 * np.minimum(STEPS / 100, 1) / np.sqrt(np.maximum(STEPS / 100, 1))
    expected *= np.clip((1000 - STEPS) / 300, 0, 1)
    np.testing.assert_allclose(rates(**fields), expected, atol=1e-7)


def test_the_end_and_the_cool_down_can_be_set():
    fields = {'optimizer.decay': 'linear', 'optimizer.decay_steps': 600, 'optimizer.cooldown_steps': 50}
    expected = 0.5 * np.minimum(STEPS / 100, 1) * np.clip((600 - STEPS) / 50, 0, 1)
    np.testing.assert_allclose(rates(**fields), expected, atol=1e-7)


@pytest.mark.parametrize(
    ('fields', 'named'),
    [
        ({'optimizer.decay': 'cosin'}, 'cosine'),
        ({'optimizer.decay': 'cosine', 'optimizer.decay_steps': 100}, 'config.optimizer.warmup_steps=100'),
        (
            {'optimizer.decay': 'cosine', 'train.steps': 100},
            'config.optimizer.warmup_steps=100 must be below train.steps=100',
        ),
        ({'optimizer.decay': 'linear', 'optimizer.cooldown_steps': 1001}, 'config.optimizer.cooldown_steps=1001'),
        ({'optimizer.decay_steps': 0}, 'config.optimizer.decay_steps=0'),
        ({'optimizer.decay': 'cosine', 'optimizer.cooldown_steps': 9}, 'cooldown_steps=9 needs decay=linear or inv'),
        (
            {'optimizer.decay': 'inverse_sqrt', 'optimizer.warmup_steps': 0},
            'config.optimizer.decay_start is not set, and there is no warm-up',
        ),
        ({'optimizer.decay': 'linear', 'optimizer.decay_to': 0.5}, 'decay_to=0.5 needs decay=cosine'),
        ({'optimizer.decay': 'linear', 'optimizer.decay_start': 9}, 'decay_start=9 needs decay=inverse_sqrt'),
    ],
)
def test_an_impossible_decay_is_refused_by_name(fields, named):
    with pytest.raises(UserError, match=named):
        rates(**fields)


def test_a_run_whose_decay_ends_with_it_cannot_be_made_longer():
    config = tiny_config(**{'optimizer.decay': 'cosine'})
    stored = config.to_tree()
    config = config.replace({'train.steps': 22})
    with pytest.raises(UserError, match='config.train.steps'):
        require_same(config, stored, run_fields(config), 'there')
    for fields in ({}, {'optimizer.decay': 'inverse_sqrt'}):
        endless = tiny_config(**fields, **{'train.steps': 22})
        require_same(endless, tiny_config(**fields).to_tree(), run_fields(endless), 'there')


@pytest.mark.parametrize('decay', [name for name in DECAYS if name != 'none'])
def test_both_networks_of_a_gan_decay_together(decay):
    fields = {
        'optimizer.decay': decay,
        'optimizer.warmup_steps': 3,
        'gan.discriminator_steps': 2,
        'data.batch_size': 16,
    }
    method = build_method(tiny_config('dcgan', **fields), (8, 8, 1), 10)
    generator, discriminator = (learning_rate(options) for options in method.optimizer_options())
    for step in range(12):
        np.testing.assert_allclose(generator(step), discriminator(2 * step), rtol=1e-6)
