"""Parameterisations, weightings and losses against their papers' formulas, one by one and all together."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.apps.rules import validate
from jaxgen.diffusion import compatibility as fits
from jaxgen.diffusion import losses as objectives
from jaxgen.diffusion.guidance import guided, rescaled
from jaxgen.diffusion.predictions import PARAMETERISATIONS, estimate
from jaxgen.diffusion.schedules import Learned, Level, linear
from jaxgen.errors import UserError
from tests.diffusion import analytic
from tests.tiny import tiny_config

RNG = np.random.default_rng(0)
X0, NOISE = RNG.normal(size=(2, 5, 2, 2, 1)).astype(np.float32)
PAIRS = sorted({(s, p) for s, p, *_ in fits.fitting() if p != fits.MEAN_FLOW})


def levels(schedule):
    drawn = analytic.schedule(schedule).draw(jax.random.key(0), len(X0))
    return Level(*(np.asarray(z) for z in drawn))


@pytest.mark.parametrize(('schedule', 'parameterisation'), PAIRS)
def test_what_the_network_learns_gives_x0_back(schedule, parameterisation):
    """estimate() of the target is x_0, and the loss there is 0: a parameterisation and its inverse, for every fitting pair."""
    with jax.enable_x64(True):
        level, x0, noise = levels(schedule), jnp.asarray(X0, jnp.float64), jnp.asarray(NOISE, jnp.float64)
        here = level.like(x0)
        p = PARAMETERISATIONS[parameterisation](here.alpha, here.sigma)
        target = p.of_x0 * x0 + p.of_noise * noise
        x = objectives.add_noise(x0, noise, level)
        np.testing.assert_allclose(estimate(parameterisation, lambda x, t: target, x, level), x0, atol=1e-9)
        loss = objectives.prediction_loss(parameterisation, 'simple', lambda x, t: target, x0, noise, level)
        np.testing.assert_allclose(loss, 0, atol=1e-24)


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


def test_guidance_asks_the_network_once_for_both():
    class By:
        guidance_scale, guidance_low, guidance_high, guidance_rescale = 3.0, 0.5, 0.0, 0.0

    asked = []

    def own(x, level, labels):
        asked.append(labels.tolist())
        return x, x

    with jax.disable_jit():  # of the condition's two sides one is run
        for sigma in (1.0, 0.4):
            guided(own, jnp.ones((2, 4)), Level(jnp.ones(()), jnp.asarray(sigma), 0), jnp.array([5, 7]), 10, By)
    assert asked == [[5, 7, 10, 10], [5, 7]]


@pytest.mark.parametrize('phi', [0.0, 0.7, 1.0])
def test_rescaling_is_its_papers(phi):
    """Lin et al. 2023, equations 15 and 16, image by image."""
    mixed, positive = X0 * np.arange(1, 6).reshape(-1, 1, 1, 1) + 0.5, NOISE
    whole = [m * p.std() / m.std() for m, p in zip(mixed, positive, strict=True)]
    np.testing.assert_allclose(
        rescaled(jnp.asarray(mixed), jnp.asarray(positive), phi), phi * np.array(whole) + (1 - phi) * mixed, rtol=1e-5
    )

    class By:
        guidance_scale, guidance_low, guidance_high, guidance_rescale = 3.0, 0.0, 0.0, phi

    (got,) = guided(
        lambda x, level, labels: (x * labels.reshape(-1, 1),),
        jnp.arange(8.0).reshape(2, 4),
        Level(1.0, 1.0, 0),
        jnp.array([5, 7]),
        10,
        By,
    )
    own, without = np.arange(8.0).reshape(2, 4) * np.array([[5], [7]]), 10 * np.arange(8.0).reshape(2, 4)
    mixed = without + 3 * (own - without)
    share = phi * own.std(1, keepdims=True) / mixed.std(1, keepdims=True) + 1 - phi
    np.testing.assert_allclose(got, mixed * share, rtol=1e-5)


def test_an_interval_without_a_level_is_refused():
    for low, high in ((0.0, 0.0), (2.0, 0.0), (0.5, 2.0)):
        validate(tiny_config(**{'sample.guidance_low': low, 'sample.guidance_high': high}))
    for low in (2.0, 3.0):
        with pytest.raises(UserError, match=f'config.sample.guidance_low={low} must be below .*guidance_high=2.0'):
            validate(tiny_config(**{'sample.guidance_low': low, 'sample.guidance_high': 2.0}))


VP = dict.fromkeys(('eps', 'x0', 'v', 'edm'), ('simple', 'learned', 'min_snr', 'elbo'))
NO_SIGNAL = dict.fromkeys(('x0', 'v', 'edm'), ('simple', 'learned', 'elbo'))
FITS = {  # weightings, of which 'learned' is simple with that variance
    'linear': VP,
    'linear_betas': VP,
    'cosine': VP,
    'linear_zero_snr': NO_SIGNAL,
    'cosine_zero_snr': NO_SIGNAL,
    'edm': {'edm': ('simple', 'min_snr')},
    'flow': {**dict.fromkeys(('x0', 'edm', 'flow'), ('simple', 'min_snr')), 'mean_flow': ('simple',)},
    'learned': dict.fromkeys(('eps', 'x0', 'v', 'edm'), ('elbo',)),
}


def test_what_fits_is_this_table():
    expected = set()
    for schedule, parameterisations in FITS.items():
        for parameterisation, weightings in parameterisations.items():
            samplers = {'ddpm', 'ddpm_fixedsmall', 'ddim', 'heun', 'dpmpp_2m', 'dpmpp_2m_sde'}
            samplers |= set() if schedule == 'learned' else {'edm'}
            for weighting in weightings:
                variance = ('simple', 'learned') if weighting == 'learned' else (weighting, 'fixed')
                for sampler in {'mean_flow'} if parameterisation == 'mean_flow' else samplers:
                    expected.add((schedule, parameterisation, *variance, sampler))
    known = {choice[-1] for choice in expected}  # one that is added is in other tests
    got = {choice for choice in fits.fitting() if choice[0] in FITS and choice[-1] in known}
    assert got == expected


@pytest.mark.parametrize(
    ('choice', 'words'),
    [
        (('linear_zero_snr', 'eps'), 'parameterisation=eps says nothing of x_0 .* take v$'),
        (('flow', 'eps'), 'parameterisation=eps says nothing of x_0 .* take flow$'),
        (('cosine', 'flow'), 'parameterisation=flow presumes alpha'),
        (('cosine', 'mean_flow'), 'parameterisation=mean_flow presumes alpha'),
        (('edm', 'v'), 'parameterisation=v presumes .* schedule=edm has not: take edm$'),
        (('flow', 'v'), 'parameterisation=v presumes .* schedule=flow has not: take flow$'),
        (('edm', 'x0'), 'parameterisation=x0 leaves the input as it is'),
        (('flow', 'mean_flow', 'min_snr'), 'weighting=min_snr: mean_flow has a loss of its own'),
        (('flow', 'mean_flow', 'elbo'), 'weighting=elbo: mean_flow has a loss of its own'),
        (
            ('cosine_zero_snr', 'v', 'min_snr'),
            'weighting=min_snr leaves out the last timestep of schedule=cosine_zero_snr',
        ),
        (('edm', 'edm', 'elbo'), 'weighting=elbo is not bounded near the image under schedule=edm'),
        (('flow', 'flow', 'elbo'), 'weighting=elbo is not bounded near the image under schedule=flow'),
        (('learned', 'v', 'min_snr'), 'take weighting=elbo$'),
        (('edm', 'edm', 'simple', 'learned'), 'variance=learned is the hybrid loss'),
        (('linear', 'eps', 'elbo', 'learned'), 'variance=learned is the hybrid loss'),
        (('flow', 'mean_flow', 'simple', 'fixed', 'ddim'), 'config.sample.sampler=ddim and .* take mean_flow$'),
        (('flow', 'flow', 'simple', 'fixed', 'mean_flow'), 'config.sample.sampler=mean_flow and .* take another$'),
        (('learned', 'v', 'elbo', 'fixed', 'edm'), 'config.sample.sampler=edm adds noise up to .* take heun$'),
    ],
)
def test_what_does_not_fit_has_a_reason(choice, words):
    assert re.search(words, fits.refusal(*choice))


def test_the_table_names_every_schedule_and_sampler():
    text = fits.table()
    assert all(
        name in text for name in (*fits.SCHEDULES, *fits.SAMPLERS, *fits.ALL_PARAMETERISATIONS, *fits.ALL_WEIGHTINGS)
    )
