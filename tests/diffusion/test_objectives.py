"""Parameterisations, weightings and losses against their papers' formulas, one by one and all together."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.diffusion import fits, objectives
from jaxgen.diffusion.guidance import guided
from jaxgen.diffusion.parameterisations import PARAMETERISATIONS, estimate
from jaxgen.diffusion.schedules import Learned, Level, linear
from tests.diffusion import analytic

RNG = np.random.default_rng(0)
X0, NOISE = RNG.normal(size=(2, 5, 2, 2, 1)).astype(np.float32)
PAIRS = sorted({(s, p) for s, p, *_ in fits.fitting() if p != fits.MEAN_FLOW})


def levels(schedule):
    drawn = analytic.schedule(schedule).draw(jax.random.key(0), len(X0))
    return Level(*(np.asarray(z) for z in drawn))


@pytest.mark.parametrize(('schedule', 'parameterisation'), PAIRS)
def test_what_the_network_learns_gives_x0_back(schedule, parameterisation):
    """estimate() of the target is x_0, and the loss there is 0: a parameterisation and its inverse, for every fitting pair."""
    level = levels(schedule)
    here = level.like(X0)
    p = PARAMETERISATIONS[parameterisation](here.alpha, here.sigma)
    target = p.of_x0 * X0 + p.of_noise * NOISE
    x = objectives.add_noise(X0, NOISE, level)
    got = estimate(parameterisation, lambda x, t: target, x, level)
    np.testing.assert_allclose(got, X0, atol=2e-3 * np.max(1 / level.alpha))
    loss = objectives.prediction_loss(parameterisation, 'simple', lambda x, t: target, X0, NOISE, level)
    np.testing.assert_allclose(loss, 0, atol=1e-12)


def test_targets_are_the_papers():
    a, s = 0.6, 0.8
    predicted = {name: p(a, s).of_x0 * 0.5 + p(a, s).of_noise * -1.5 for name, p in PARAMETERISATIONS.items()}
    assert predicted['eps'] == -1.5 and predicted['x0'] == 0.5
    np.testing.assert_allclose(predicted['v'], a * -1.5 - s * 0.5)
    np.testing.assert_allclose(predicted['flow'], -1.5 - 0.5)


def test_edm_is_table_1():
    """c_skip, c_out, c_in, and lambda(sigma) = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 on the error of x_0."""
    sigma = np.array([0.002, 0.5, 80.0])
    p = PARAMETERISATIONS['edm'](np.ones(3), sigma)
    np.testing.assert_allclose(p.skip, 0.25 / (sigma**2 + 0.25), rtol=1e-6)
    np.testing.assert_allclose(p.output, sigma * 0.5 / np.sqrt(sigma**2 + 0.25), rtol=1e-6)
    np.testing.assert_allclose(p.input, 1 / np.sqrt(sigma**2 + 0.25), rtol=1e-6)
    np.testing.assert_allclose(1 / p.output**2, (sigma**2 + 0.25) / (sigma * 0.5) ** 2, rtol=1e-6)


@pytest.mark.parametrize('parameterisation', ['eps', 'x0', 'v'])
def test_min_snr_is_its_papers_table(parameterisation):
    """Hang et al. 2023, section 3.4: min(SNR, 5) over SNR for eps, itself for x_0, over SNR + 1 for v."""
    level = linear(1000).level(jnp.array([0, 300, 600, 800, 999]))
    snr = np.asarray((level.alpha / level.sigma) ** 2, np.float64)
    expected = np.minimum(snr, 5) / {'eps': snr, 'x0': 1, 'v': snr + 1}[parameterisation]

    def network(x, t):
        return jnp.zeros_like(x)

    simple, weighted = (
        objectives.prediction_loss(parameterisation, w, network, X0, NOISE, level) for w in ('simple', 'min_snr')
    )
    np.testing.assert_allclose(weighted / simple, expected, rtol=1e-4)


def test_loss_is_the_mean_square_per_example():
    x0, noise = jnp.zeros((2, 2, 2, 3)), jnp.ones((2, 2, 2, 3))
    level = linear(10).level(jnp.arange(2) * 3)
    loss = objectives.prediction_loss('eps', 'simple', lambda x, t: noise * t[:, None, None, None], x0, noise, level)
    np.testing.assert_allclose(loss, [1.0, 4.0])


def test_mean_flow_identity_holds_for_the_exact_mean_velocity():
    """For data at one point the velocity along a way is constant, so the mean velocity is x/t - x0/t; its loss is 0."""
    point = 0.3

    def network(x, t, r):
        return (x - point) / t.reshape(-1, 1, 1, 1)

    x0 = jnp.full((4, 2, 2, 1), point)
    noise = jax.random.normal(jax.random.key(0), x0.shape)
    t, r = jnp.array([0.9, 0.5, 0.7, 0.3]), jnp.array([0.1, 0.5, 0.2, 0.0])
    np.testing.assert_allclose(objectives.mean_flow_loss(network, x0, noise, t, r), 0, atol=1e-6)

    def wrong(x, t, r):
        return network(x, t, r) + 0.1 * (t - r).reshape(-1, 1, 1, 1)

    assert objectives.mean_flow_loss(wrong, x0, noise, t, r)[0] > 0.5  # over itself plus 1e-3


def test_mean_flow_target_uses_the_derivative_along_the_way():
    """Against finite differences of u(x + v dt, t + dt, r), for a network that is nothing special."""

    def network(x, t, r):
        return jnp.sin(x * t.reshape(-1, 1, 1, 1)) + r.reshape(-1, 1, 1, 1) * x**2

    with jax.enable_x64(True):
        x0, noise = jnp.asarray(X0, jnp.float64), jnp.asarray(NOISE, jnp.float64)
        t, r = jnp.linspace(0.5, 0.9, 5), jnp.linspace(0.0, 0.4, 5)
        wide, v, dt = t.reshape(-1, 1, 1, 1), noise - x0, 1e-6
        x = (1 - wide) * x0 + wide * noise
        slope = (network(x + dt * v, t + dt, r) - network(x - dt * v, t - dt, r)) / (2 * dt)
        error = jnp.mean((network(x, t, r) - (v - (t - r).reshape(-1, 1, 1, 1) * slope)) ** 2, (1, 2, 3))
        got = objectives.mean_flow_loss(network, x0, noise, t, r)
        np.testing.assert_allclose(got, error / (error + 1e-3), rtol=1e-6)
    t, r = objectives.draw_mean_flow_times(jax.random.key(0), 4000)
    assert jnp.all(r <= t) and abs(jnp.mean(r == t) - 0.75) < 0.03


def test_a_learned_schedule_evens_out_its_loss():
    """For a known error m(gamma) the variance is least where gamma' m is the same at all times; descent gets there."""
    schedule = Learned()
    params = schedule.init(jax.random.key(0))
    ends = params['ends']

    def error(gamma):
        return 0.02 + jnp.exp(-0.5 * ((gamma + 4) / 2) ** 2)

    times = jnp.linspace(0.0, 1.0, 257)

    def loss(params):
        return objectives.schedule_variance_loss(Learned(params), times, error(Learned(params).gamma(times)))

    def spread(params):
        gamma, slope = jax.jvp(Learned(params).gamma, (times,), (jnp.ones_like(times),))
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


def test_guidance_adds_what_the_class_adds_within_its_interval():
    class By:
        guidance_scale, guidance_low, guidance_high, guidance_rescale = 3.0, 0.5, 2.0, 0.0

    def own(x, level, labels):
        return (x + labels.reshape(-1, 1).astype(x.dtype),)

    x, labels = jnp.ones((2, 4)), jnp.array([5, 7])
    for sigma, expected in ((1.0, 1 + 10 + 3 * (labels - 10)), (0.4, 1 + labels), (2.5, 1 + labels)):
        (got,) = guided(own, x, Level(jnp.ones(()), jnp.asarray(sigma), 0), labels, 10, By)
        np.testing.assert_allclose(got[:, 0], expected)
    By.guidance_rescale = 1.0
    (got,) = guided(
        lambda x, level, labels: (x * labels.reshape(-1, 1),),
        jnp.arange(8.0).reshape(2, 4),
        Level(1.0, 1.0, 0),
        labels,
        10,
        By,
    )
    np.testing.assert_allclose(jnp.std(got, 1), jnp.std(jnp.arange(8.0).reshape(2, 4), 1) * labels, rtol=1e-5)


def test_the_table_names_every_schedule_and_sampler_and_reasons_are_sentences():
    text = fits.table()
    assert all(
        name in text for name in (*fits.SCHEDULES, *fits.SAMPLERS, *fits.ALL_PARAMETERISATIONS, *fits.ALL_WEIGHTINGS)
    )
    assert 'where no signal is left' in fits.refusal('linear_zero_snr', 'eps')
    assert 'mean_flow alone' in fits.refusal('flow', 'mean_flow', sampler='ddim')
    assert fits.refusal('linear', 'eps', 'simple', 'fixed', 'ddim') is None
