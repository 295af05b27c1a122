"""Losses against their papers' formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.diffusion import losses
from jaxgen.diffusion.schedules import LearnedSchedule, linear
from tests.diffusion import analytic

RNG = np.random.default_rng(0)
X0, NOISE = RNG.normal(size=(2, 5, 2, 2, 1)).astype(np.float32)


@pytest.mark.parametrize('prediction', ['eps', 'x0', 'v'])
def test_min_snr_is_its_papers_table(prediction):
    """Hang et al. 2023 (Min-SNR): min(SNR, 5) over SNR for eps, itself for x_0, over SNR + 1 for v."""
    level = linear(1000).level(jnp.array([0, 300, 600, 800, 999]))
    snr = np.asarray((level.alpha / level.sigma) ** 2, np.float64)
    expected = np.minimum(snr, 5) / {'eps': snr, 'x0': 1, 'v': snr + 1}[prediction]

    def network(x, t):
        return jnp.zeros_like(x)

    simple, weighted = (
        losses.prediction_loss(network, X0, NOISE, level, prediction=prediction, weighting=weighting)
        for weighting in ('simple', 'min_snr')
    )
    np.testing.assert_allclose(weighted / simple, expected, rtol=1e-4)


def test_loss_is_the_mean_square_per_example():
    x0, noise = jnp.zeros((2, 2, 2, 3)), jnp.ones((2, 2, 2, 3))
    level = linear(10).level(jnp.arange(2) * 3)
    loss = losses.prediction_loss(lambda x, t: noise * t[:, None, None, None], x0, noise, level)
    np.testing.assert_allclose(loss, [1.0, 4.0])


def of_pixels(values):
    return jnp.reshape(values, (-1, 1, 1, 1))


def test_consistency_loss_is_zero_for_the_function_of_a_single_image():
    """Every trajectory ends at that image. An error of 0.1 t in the function differs by 0.1 (t - r) between the levels."""
    x0, t, r = jnp.full((5, 2, 2, 1), 0.3), jnp.full(5, 3.0), jnp.array([0.0, 0.1, 1.0, 2.0, 2.9])

    def exact(x, sigma):
        return jnp.full_like(x, 0.3)

    np.testing.assert_array_equal(losses.consistency_loss(exact, x0, NOISE, t, r), 0)
    wrong = losses.consistency_loss(lambda x, sigma: exact(x, sigma) + 0.1 * of_pixels(sigma), x0, NOISE, t, r)
    np.testing.assert_allclose(wrong, (1 / 9 + 4) * 0.1 * (t - r) * 2, rtol=1e-5)  # 2 is the root of 4 pixels


@pytest.mark.parametrize('t', [0.2, 1.0, 5.0])
def test_consistency_loss_is_least_for_the_exact_function_of_gaussian_data(t):
    """This holds up to the square of t - r. The noise of an example is not that of its trajectory, so the loss is not zero."""
    mean, std, r = analytic.MEAN, analytic.STD, 0.98 * t
    x0, noise = jax.random.normal(jax.random.key(1), (2, 1, 100, 100, 1))
    x0 = mean + std * x0

    def loss(factor):
        """Return the loss of the exact function whose slope at t, and there alone, is multiplied by a factor."""

        def function(x, sigma):
            exact = analytic.consistency_function(x, of_pixels(sigma))
            return jnp.where(of_pixels(sigma) == t, mean + factor * (exact - mean), exact)

        return losses.consistency_loss(function, x0, noise, jnp.array([t]), jnp.array([r]))[0]

    factors = 1 + np.linspace(-0.02, 0.02, 41)
    values = jax.vmap(loss)(jnp.asarray(factors, jnp.float32))
    assert abs(factors[jnp.argmin(values)] - 1) < 2e-3 and values[0] > 1.2 * values.min()


def test_consistency_loss_is_its_papers():
    """Geng et al. 2024, by its formula; where r is 0 the function is x_0, and the network is not called."""
    t, r = np.array([0.5, 1.0, 2.0, 7.0, 80.0]), np.array([0.0, 0.3, 1.9, 6.0, 79.0])

    def function(x, sigma, xp=np):
        return xp.sin(x / (1 + sigma.reshape(-1, 1, 1, 1))) + xp.log(sigma.reshape(-1, 1, 1, 1))

    at_t, at_r = (X0 + s.reshape(-1, 1, 1, 1) * NOISE for s in (t, r))
    later = function(at_r, np.where(r > 0, r, 1))
    later[0] = X0[0]
    norm = np.sqrt(np.sum((function(at_t, t) - later) ** 2, axis=(1, 2, 3)))
    with jax.enable_x64(True):
        x0, noise = jnp.asarray(X0, jnp.float64), jnp.asarray(NOISE, jnp.float64)
        arguments = x0, noise, jnp.asarray(t), jnp.asarray(r)
        got = losses.consistency_loss(lambda x, sigma: function(x, sigma, jnp), *arguments)
        np.testing.assert_allclose(got, norm * (1 / t**2 + 1 / 0.5**2), rtol=1e-6)

        def total(shift):  # only the call at t has a gradient
            return jnp.sum(losses.consistency_loss(lambda x, s: function(x, s, jnp) + shift * of_pixels(s), *arguments))

        def only_at_t(shift):
            error = jnp.asarray(function(at_t, t)) + shift * of_pixels(jnp.asarray(t)) - later
            norms = jnp.sqrt(jnp.sum(error**2, axis=(1, 2, 3)))
            return jnp.sum(norms * (1 / t**2 + 4))

        np.testing.assert_allclose(jax.grad(total)(0.0), jax.grad(only_at_t)(0.0), rtol=1e-6)


def test_consistency_loss_of_equal_images_has_zero_gradient():
    x0, t = jnp.zeros((2, 2, 2, 1)), jnp.ones(2)
    slope = jax.grad(lambda a: jnp.sum(losses.consistency_loss(lambda x, s: a * x, x0, x0, t, t / 2)))(1.0)
    assert slope == 0


def test_mean_flow_identity_holds_for_the_exact_mean_velocity():
    """For data at one point the velocity along a line is constant, so the mean velocity is x/t - x0/t; its loss is 0."""
    point = 0.3

    def network(x, t, r):
        return (x - point) / t.reshape(-1, 1, 1, 1)

    x0 = jnp.full((4, 2, 2, 1), point)
    noise = jax.random.normal(jax.random.key(0), x0.shape)
    t, r = jnp.array([0.9, 0.5, 0.7, 0.3]), jnp.array([0.1, 0.5, 0.2, 0.0])
    np.testing.assert_allclose(losses.mean_flow_loss(network, x0, noise, t, r), 0, atol=1e-6)

    def wrong(x, t, r):
        return network(x, t, r) + 0.1 * (t - r).reshape(-1, 1, 1, 1)

    assert losses.mean_flow_loss(wrong, x0, noise, t, r)[0] > 0.5  # over itself plus 1e-3


def test_mean_flow_target_uses_the_derivative_along_the_line():
    """The derivative is checked by finite differences of u(x + v dt, t + dt, r), for an arbitrary network."""

    def network(x, t, r):
        return jnp.sin(x * t.reshape(-1, 1, 1, 1)) + r.reshape(-1, 1, 1, 1) * x**2

    with jax.enable_x64(True):
        x0, noise = jnp.asarray(X0, jnp.float64), jnp.asarray(NOISE, jnp.float64)
        t, r = jnp.linspace(0.5, 0.9, 5), jnp.linspace(0.0, 0.4, 5)
        wide, v, dt = t.reshape(-1, 1, 1, 1), noise - x0, 1e-6
        x = (1 - wide) * x0 + wide * noise
        slope = (network(x + dt * v, t + dt, r) - network(x - dt * v, t - dt, r)) / (2 * dt)
        squared_norm = jnp.sum((network(x, t, r) - (v - (t - r).reshape(-1, 1, 1, 1) * slope)) ** 2, (1, 2, 3))
        got = losses.mean_flow_loss(network, x0, noise, t, r)
        np.testing.assert_allclose(got, squared_norm / (squared_norm + 1e-3), rtol=1e-6)


def test_mean_flow_weight_is_its_papers():
    """Geng et al. 2025: w = 1 / (||Delta||^2 + c)^p with a sum of squares, p = 1, c = 1e-3; w is constant for the gradient."""
    x0, noise, t = jnp.asarray(X0), jnp.asarray(NOISE), jnp.full(5, 0.5)

    def loss(shift):  # at r = t the target is the velocity, and Delta is the shift in each of the 4 values of an image
        return jnp.sum(losses.mean_flow_loss(lambda x, t, r: noise - x0 + shift, x0, noise, t, t)[:1])

    for shift in (0.003, 0.5):
        weight = 1 / (4 * shift**2 + 1e-3)
        value, slope = jax.value_and_grad(loss)(shift)
        np.testing.assert_allclose([value, slope], [weight * 4 * shift**2, weight * 8 * shift], rtol=1e-3)


def test_a_learned_schedule_reduces_the_variance_of_its_loss():
    """For a known error m(gamma) the variance is least where gamma' m is the same at all times; descent gets there."""
    schedule = LearnedSchedule()
    params = schedule.init(jax.random.key(0))
    ends = params['ends']

    def error(gamma):
        return 0.02 + jnp.exp(-0.5 * ((gamma + 4) / 2) ** 2)

    times = jnp.linspace(0.0, 1.0, 257)

    def loss(params):
        return losses.schedule_variance_loss(
            LearnedSchedule(params), times, error(LearnedSchedule(params).gamma(times))
        )

    def spread(params):
        gamma, slope = jax.jvp(LearnedSchedule(params).gamma, (times,), (jnp.ones_like(times),))
        each = slope * error(gamma)
        return jnp.std(each) / jnp.mean(each)

    adam = optax.adam(0.03)

    @jax.jit
    def descend(params):
        def step(carry, _):
            params, state = carry
            updates, state = adam.update(jax.grad(loss)(params), state)
            return ({**optax.apply_updates(params, updates), 'ends': ends}, state), None

        return jax.lax.scan(step, (params, adam.init(params)), None, length=1000)[0][0]

    after = descend(params)
    assert spread(after) < 0.5 * spread(params), (spread(params), spread(after))
