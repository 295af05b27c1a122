"""The predictions of networks against the papers' formulas, for every schedule that is compatible with each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.diffusion import losses
from jaxgen.diffusion.compatibility import FEW_STEP, compatible_combinations
from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.predictions import PREDICTIONS, Prediction, estimate_x0, predict
from tests.diffusion import analytic

RNG = np.random.default_rng(0)
X0, NOISE = RNG.normal(size=(2, 5, 2, 2, 1)).astype(np.float32)
PAIRS = sorted({(s, p) for s, p, *_ in compatible_combinations() if p not in FEW_STEP})


def levels(schedule):
    sampled = analytic.schedule(schedule).sample_levels(jax.random.key(0), len(X0))
    return Level(*(np.asarray(array) for array in sampled))


@pytest.mark.parametrize(('schedule', 'prediction'), PAIRS)
def test_the_target_of_a_network_gives_x0_back(schedule, prediction):
    """The estimate from the target is x_0, and the loss there is 0, for every compatible pair."""
    with jax.enable_x64(True):
        level, x0, noise = levels(schedule), jnp.asarray(X0, jnp.float64), jnp.asarray(NOISE, jnp.float64)
        here = level.broadcast_to(x0)
        p = PREDICTIONS[prediction](here.alpha, here.sigma)
        target = p.target_x0 * x0 + p.target_noise * noise
        x = losses.add_noise(x0, noise, level)
        np.testing.assert_allclose(estimate_x0(prediction, lambda x, t: target, x, level), x0, atol=1e-9)
        loss = losses.prediction_loss(lambda x, t: target, x0, noise, level, prediction=prediction)
        np.testing.assert_allclose(loss, 0, atol=1e-24)


def test_targets_are_the_papers():
    a, s = 0.6, 0.8
    target = {name: p(a, s).target_x0 * 0.5 + p(a, s).target_noise * -1.5 for name, p in PREDICTIONS.items()}
    assert target['eps'] == -1.5 and target['x0'] == 0.5
    np.testing.assert_allclose(target['v'], a * -1.5 - s * 0.5)
    np.testing.assert_allclose(target['flow'], -1.5 - 0.5)


def test_edm_is_table_1():
    """c_skip, c_out, c_in, and lambda(sigma) = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 on the error of x_0."""
    sigma = np.array([0.002, 0.5, 80.0])
    p = PREDICTIONS['edm'](np.ones(3), sigma)
    np.testing.assert_allclose(p.c_skip, 0.25 / (sigma**2 + 0.25), rtol=1e-6)
    np.testing.assert_allclose(p.c_out, sigma * 0.5 / np.sqrt(sigma**2 + 0.25), rtol=1e-6)
    np.testing.assert_allclose(p.c_in, 1 / np.sqrt(sigma**2 + 0.25), rtol=1e-6)
    np.testing.assert_allclose(1 / p.c_out**2, (sigma**2 + 0.25) / (sigma * 0.5) ** 2, rtol=1e-6)


def test_a_learned_variance_is_the_second_half_of_the_output():
    level, output = levels('cosine'), jnp.concatenate([X0, NOISE], axis=-1)
    mean, fraction = predict('x0', lambda x, t: output, jnp.asarray(X0), level, learned_variance=True)
    np.testing.assert_array_equal(mean, X0)
    np.testing.assert_array_equal(fraction, NOISE)
    plain = predict('x0', lambda x, t: jnp.asarray(X0), jnp.asarray(X0), level)
    assert isinstance(plain, Prediction) and plain.variance_fraction is None
