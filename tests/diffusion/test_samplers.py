"""Every sampler of the registry on every compatible schedule, for data where everything is known in closed form.

For Gaussian data the exact denoiser is affine, and so is a sampler's output in its start and in the noise of each step.
The derivatives of that function, taken from the sampler itself, give the exact law of its samples; the papers' own
formulas, written here without the sampler's tables, must give the same.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxgen.diffusion import samplers
from jaxgen.diffusion.compatibility import FEW_STEP, compatible_combinations
from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.predictions import Prediction
from jaxgen.diffusion.samplers import SAMPLERS, Ancestral
from jaxgen.diffusion.samplers.base import initial_noise
from jaxgen.diffusion.schedules import SCHEDULES, EDMSchedule, cosine, linear_betas, trailing_timesteps
from tests.diffusion import analytic
from tests.diffusion.analytic import MEAN, STD

DENOISING = [name for name in SAMPLERS if name not in FEW_STEP]
COMPATIBLE = [(n, s) for s in SCHEDULES for n in DENOISING if compatible_combinations(schedule=s, sampler=n)]
CHURN = 4.0
WRITTEN_HERE = (
    'ddpm',
    'ddpm_fixedsmall',
    'ddim',
    'heun',
    'edm',
    'dpmpp_2m',
    'dpmpp_2m_sde',
)  # samplers whose formulas this file repeats


def registered(name):
    """Return the sampler of the registry, with churn if it is edm."""
    return SAMPLERS[name].with_options(**{'churn': CHURN} if name == 'edm' else {})


def sampled(name, schedule, levels, *, denoiser, x, noise):
    return registered(name).sample(denoiser, levels, x, noise=noise, schedule=schedule)


def law(name, schedule, levels, start):
    """Return mean and variance of the samples, from the value at zero noise and the derivatives with respect to all noise.

    ``start`` is the mean and the variance of x at the first of the levels.
    """
    _, steps = registered(name).init(levels, jnp.zeros(1, jnp.float64), schedule)
    mean, slopes = mean_and_slopes(name, start, steps)
    return float(mean), float(jnp.sum(slopes**2))


@functools.partial(jax.jit, static_argnums=0)  # compiled once for all schedules
def mean_and_slopes(name, start, steps):
    def sample(noises):
        carry = registered(name).first_carry(start[0] + jnp.sqrt(start[1]) * noises[0:1])
        return registered(name).run(analytic.gaussian, carry, steps, lambda i: noises[1:][i][None])[0]

    return jax.value_and_grad(sample)(jnp.zeros(len(steps.level.t) + 1, jnp.float64))


def recursion(name, schedule, num_steps):
    """Return mean and variance by the papers' formulas.

    Each step is x <- slope x + offset + std z, and its values at x = 0 and x = 1 give the slope and the offset.
    """
    levels = [np.asarray(z, np.float64) for z in schedule.levels(num_steps)]
    alpha, sigma = levels[:2]
    gamma = min(CHURN / num_steps, np.sqrt(2) - 1) if name == 'edm' else 0.0
    mean, variance = 0.0, alpha[0] ** 2 + sigma[0] ** 2
    cov_with_before, before = 0.0, None  # covariance of x and the previous x_0, which 2M needs
    for i in range(num_steps):
        a, s, a2, s2 = alpha[i], sigma[i], alpha[i + 1], sigma[i + 1]
        gain = a * STD**2 / (a**2 * STD**2 + s**2)
        x = np.array([0.0, 1.0])
        x0 = MEAN + gain * (x - a * MEAN)
        eps = (x - a * x0) / s
        std = 0.0
        if name == 'ddim':  # equation 12 of Song et al. with sigma 0
            new = a2 * x0 + s2 * eps
        elif name.startswith('ddpm'):  # Bayes' rule for q(x_next | x, x_0)
            ratio = a / a2
            total = s**2 - ratio**2 * s2**2  # variance of x given x_next
            if s2 == 0:
                new = a2 * x0
            else:
                precision = ratio**2 / total + 1 / s2**2
                new = (ratio / total * x + a2 / s2**2 * x0) / precision
                std = np.sqrt(1 / precision if name == 'ddpm_fixedsmall' else total)
        elif name in ('heun', 'edm'):  # algorithm 2 of Karras et al. in y = x / alpha, s = sigma / alpha
            new, std = heun_step(a, s, a2, s2, gamma)
        else:
            mean, variance, cov_with_before, before = dpm_step(
                name, (a, s, a2, s2), x0, mean, variance, cov_with_before, before
            )
            continue
        slope, offset = new[1] - new[0], new[0]
        mean, variance = slope * mean + offset, slope**2 * variance + std**2
    return mean, variance


def heun_step(a, s, a2, s2, gamma):
    """Return x after the step for x = 0 and 1, and the standard deviation of the added noise after the step."""

    def estimate(y, r):
        return MEAN + STD**2 / (STD**2 + r**2) * (y - MEAN)

    def step(x, added):
        if a == 0:
            return a2 * MEAN + s2 * x / s
        r, r2 = s / a * (1 + gamma), s2 / a2
        y = x / a + added * np.sqrt(r**2 - (s / a) ** 2)
        d = (y - estimate(y, r)) / r
        euler = y + (r2 - r) * d
        if r2 == 0:
            return a2 * euler
        return a2 * (y + (r2 - r) * (d + (euler - estimate(euler, r2)) / r2) / 2)

    return step(np.array([0.0, 1.0]), 0.0), abs(step(0.0, 1.0) - step(0.0, 0.0))


def dpm_step(name, rates, x0, mean, variance, cov, before):
    """Take a step of 2M (Lu et al. 2022) in lambda = log(alpha / sigma); ``before`` is (x0's mean, variance, h)."""
    a, s, a2, s2 = rates
    with np.errstate(divide='ignore'):
        h = np.log(a2 / s2) - np.log(a / s) if s2 > 0 and a > 0 else np.inf
    shrink = np.exp(-h)
    sde = name.endswith('sde')
    b = (s2 / s) * (shrink if sde else 1)
    c = a2 * (1 - shrink**2) if sde else a2 - a * s2 / s
    std = s2 * np.sqrt(1 - shrink**2) if sde else 0.0
    second = 0.5 * h / before[2] if before and np.isfinite(h) and np.isfinite(before[2]) else 0.0
    gain, offset = x0[1] - x0[0], x0[0]
    now_mean, now_variance = gain * mean + offset, gain**2 * variance
    # x_next = b x + c ((1 + second) x0(x) - second before) + std z
    along = b + c * (1 + second) * gain
    new_mean = b * mean + c * ((1 + second) * now_mean - second * (before[0] if before else 0))
    previous = before[1] if before else 0.0
    new_variance = along**2 * variance + (c * second) ** 2 * previous - 2 * along * c * second * cov + std**2
    new_cov = gain * (along * variance - c * second * cov)  # covariance of x_next and this x0
    return new_mean, new_variance, new_cov, (now_mean, now_variance, h)


@pytest.mark.parametrize(('name', 'schedule'), [pair for pair in COMPATIBLE if pair[0] in WRITTEN_HERE])
def test_law_equals_the_papers_recursion(name, schedule):
    with jax.enable_x64(True):
        made = analytic.schedule(schedule)
        # Heun's first steps make the variance very large if sigma / alpha begins at 80 or 20,000, so the tolerance is relative.
        relative = 1e-9 if name in ('heun', 'edm') else 0
        for num_steps in (1, 2, 7, 100, 1000) if schedule == 'linear_betas' else (1, 8):
            levels = made.levels(num_steps)
            start = 0.0, levels.alpha[0] ** 2 + levels.sigma[0] ** 2
            expected = recursion(name, made, num_steps)
            np.testing.assert_allclose(law(name, made, levels, start), expected, rtol=relative, atol=1e-10)


def test_learned_variances_at_their_ends_and_eta_1_are_ddpm():
    """Nichol & Dhariwal 2021, equation 15; Song et al. 2021, below equation 16: the same start and noise, the same image."""
    with jax.enable_x64(True):
        x, *noises = np.random.default_rng(0).normal(size=(9, 5))

        def drawn(function, levels, denoiser=analytic.gaussian, **options):
            return function(denoiser, levels, jnp.asarray(x), noise=lambda i: jnp.asarray(noises)[i], **options)

        for schedule in ('linear_betas', 'cosine_zero_snr'):
            levels = analytic.schedule(schedule).levels(8)
            large, small = (drawn(samplers.ancestral, levels, variance=v) for v in ('fixedlarge', 'fixedsmall'))
            for end, expected in ((1.0, large), (-1.0, small)):

                def denoiser(x, level, end=end):
                    return Prediction(analytic.gaussian(x, level), jnp.full_like(x, end))

                got = drawn(samplers.ancestral, levels, denoiser, variance='learned')
                np.testing.assert_allclose(got, expected, atol=1e-12)
            np.testing.assert_allclose(drawn(samplers.ddim, levels, eta=1.0), small, atol=1e-12)
            assert np.min(np.abs(large - small)) > 1e-4


def test_all_timesteps_reach_the_data():
    """On the paper's schedule, DDIM and DDPM with either variance end near the mean and the deviation of the data."""
    with jax.enable_x64(True):
        for name in ('ddpm', 'ddpm_fixedsmall', 'ddim'):
            mean, variance = law(name, linear_betas(1000), linear_betas(1000).levels(1000), (0.0, 1.0))
            assert abs(mean - MEAN) < 5e-3
            assert abs(np.sqrt(variance) - STD) < 5e-3


@pytest.mark.parametrize('name', DENOISING)
def test_converges_to_the_data_at_its_order(name):
    """With the same noise and twice as many steps, the error falls to a half, or to a quarter at second order."""
    errors = []
    with jax.enable_x64(True):
        schedule = EDMSchedule(sigma_min=0.05, sigma_max=20.0, rho=3.0)
        for num_steps in (64, 128, 256):
            levels = Level(*(z[:-1] for z in schedule.levels(num_steps + 1)))  # ends close to the data
            mean, variance = law(name, schedule, levels, (MEAN, STD**2 + 20.0**2))
            errors.append(abs(variance - STD**2 - 0.05**2) + abs(mean - MEAN))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert abs(orders[-1] - SAMPLERS[name].order) < 0.25, (errors, orders)


@pytest.mark.parametrize('name', DENOISING)
def test_two_modes_are_sampled_with_their_shares(name):
    """Without noise a sampler keeps scalars in order and maps quantiles to quantiles; otherwise 20,000 samples are compared."""
    schedule = analytic.schedule('edm')
    levels = schedule.levels(200)
    ranks = np.concatenate(
        [np.linspace(0.02, 0.26, 10), np.linspace(0.35, 0.98, 15)]
    )  # almost nothing lies between the modes
    quiet, loud = (
        sampled(
            name,
            schedule,
            schedule.levels(2),
            denoiser=analytic.mixture,
            x=jnp.ones(1),
            noise=lambda i, z=z: jnp.full(1, z),
        )
        for z in (0.0, 1.0)
    )
    assert registered(name).stochastic == (quiet != loud)
    if quiet != loud:
        x = levels.sigma[0] * jax.random.normal(jax.random.key(0), (20_000,))

        def noise(i):
            return jax.random.normal(jax.random.fold_in(jax.random.key(1), i), x.shape)

        got = np.quantile(sampled(name, schedule, levels, denoiser=analytic.mixture, x=x, noise=noise), ranks)
    else:
        x = jnp.asarray(np.hypot(1, levels.sigma[0]) * special.ndtri(ranks))
        got = sampled(name, schedule, levels, denoiser=analytic.mixture, x=x, noise=None)
    np.testing.assert_allclose(got, analytic.mixture_quantiles(ranks), atol=0.05)


def test_mean_flow_lands_exactly():
    """The mean velocity of Gaussian data is known: the flow scales and shifts x. One step or seven give the same result."""
    with jax.enable_x64(True):
        schedule = analytic.schedule('flow')

        def at(level):
            return jnp.sqrt(level.alpha**2 * STD**2 + level.sigma**2)

        def jump(x, level, then):  # quantiles go to quantiles
            return then.alpha * MEAN + at(then) / at(level) * (x - level.alpha * MEAN)

        x = jnp.linspace(-2.0, 2.0, 5)
        for num_steps in (1, 7):
            got = samplers.mean_flow(jump, schedule.levels(num_steps), x)
            np.testing.assert_allclose(got, MEAN + STD * x, atol=1e-12)


@pytest.mark.parametrize('num_steps', [1, 2, 5])
def test_consistency_samples_have_the_distribution_of_the_data(num_steps):
    """For Gaussian data the consistency function is known. If the start has the exact distribution, so have the samples."""
    with jax.enable_x64(True):
        schedule, sampler = EDMSchedule(), SAMPLERS['consistency']
        levels = sampler.levels(schedule, num_steps)
        calls = []

        def function(x, level):  # quantiles go to quantiles
            calls.append(level)
            return analytic.consistency_function(x, level.sigma)

        def sample(noises):
            x = MEAN + jnp.hypot(STD, levels.sigma[0]) * noises[:1]
            return sampler.sample(function, levels, x, noise=lambda i: noises[1:][i][None])[0]

        mean, slopes = jax.value_and_grad(sample)(jnp.zeros(num_steps + 1))
        np.testing.assert_allclose((mean, jnp.linalg.norm(slopes)), (MEAN, STD), rtol=1e-9)
        assert slopes[num_steps] == 0  # the last call's noise is never added
        key, x = jax.random.key(0), 80 * jnp.ones(3)
        images = samplers.consistency(function, levels, x, key=key)
        np.testing.assert_array_equal(images, sampler.sample(function, levels, x, key=key))
    assert sampler.network_calls(levels) == num_steps


def test_consistency_levels_are_those_of_the_paper():
    """Geng et al. 2024: sigma_max alone, and 0.821 as the second of two levels on CIFAR-10; more fall by equal factors."""
    sampler, schedule = SAMPLERS['consistency'], EDMSchedule()
    for num_steps, sigmas in ((1, [80, 0]), (2, [80, 0.821, 0]), (3, [80, (80 * 0.821) ** 0.5, 0.821, 0])):
        levels = sampler.levels(schedule, num_steps)
        np.testing.assert_allclose(levels.sigma, sigmas)
        np.testing.assert_allclose(levels.t[:-1], np.log(sigmas[:-1]) / 4)
        np.testing.assert_array_equal(levels.alpha, 1)


@pytest.mark.parametrize(('name', 'schedule'), COMPATIBLE)
def test_a_perfect_denoiser_ends_at_x0_in_the_stated_calls(name, schedule):
    x0 = jnp.linspace(-1, 1, 6).reshape(2, 3)
    made = analytic.schedule(schedule)
    for num_steps in (1, 10):
        levels = made.levels(num_steps)
        _, steps = registered(name).init(levels, jnp.ones((2, 3)), made)
        np.testing.assert_allclose(at_the_end(name, steps, x0), x0, atol=1e-6)
        jax.effects_barrier()
        assert SAMPLERS[name].network_calls(levels) == len(CALLS)
        CALLS.clear()


CALLS = []


@functools.partial(jax.jit, static_argnums=0)  # compiled once for all schedules
def at_the_end(name, steps, x0):
    def denoiser(x, level):
        jax.debug.callback(lambda: CALLS.append(1))
        return x0

    x = jnp.ones((2, 3))
    return registered(name).run(denoiser, registered(name).first_carry(x), steps, lambda i: x)


def test_trailing_timesteps():
    np.testing.assert_array_equal(trailing_timesteps(1000, 1000), np.arange(999, -1, -1))
    np.testing.assert_array_equal(trailing_timesteps(1000, 4), [999, 749, 499, 249])
    steps = trailing_timesteps(1000, 37)
    assert steps[0] == 999 and len(set(steps)) == 37 and np.all(np.diff(steps) < 0)
    for wrong in (0, 1001):
        with pytest.raises(ValueError, match='1000 timesteps'):
            trailing_timesteps(1000, wrong)


@pytest.mark.parametrize('name', DENOISING)
def test_steps_one_by_one_are_the_loop(name):
    schedule = cosine(100)
    levels, sampler = schedule.levels(6), registered(name)
    x, *noises = jax.random.normal(jax.random.key(0), (7, 5))

    def noise(i):
        return jnp.asarray(noises)[i]

    expected = sampler.sample(analytic.gaussian, levels, x, noise=noise, schedule=schedule, keep_path=True)
    carry, steps = sampler.init(levels, x, schedule)
    step = jax.jit(lambda carry, step: sampler.step(analytic.gaussian, carry, step, noise))
    for i in range(6):
        carry = step(carry, jax.tree.map(lambda table, i=i: table[i], steps))
        np.testing.assert_allclose(carry.x, expected[i], rtol=1e-5, atol=1e-6)


def test_functions_equal_the_registered_samplers():
    """They are called as in ``jaxgen.diffusion.samplers.ddim(denoiser, levels, noise)``, with a key if the sampler adds noise."""
    schedule, key = cosine(100), jax.random.key(1)
    levels = schedule.levels(5)
    x = initial_noise(levels, jax.random.normal(jax.random.key(0), (4,)))
    functions = {
        'ddpm': lambda *start: samplers.ancestral(*start, key=key),
        'ddpm_fixedsmall': lambda *start: samplers.ancestral(*start, variance='fixedsmall', key=key),
        'ddim': samplers.ddim,
        'heun': samplers.heun,
        'edm': lambda *start: samplers.stochastic_heun(*start, schedule=schedule, churn=CHURN, key=key),
        'dpmpp_2m': samplers.dpmpp_2m,
        'dpmpp_2m_sde': lambda *start: samplers.dpmpp_2m_sde(*start, key=key),
    }
    for name, function in functions.items():
        expected = registered(name).sample(analytic.gaussian, levels, x, key=key, schedule=schedule)
        np.testing.assert_array_equal(function(analytic.gaussian, levels, x), expected)
    with pytest.raises(ValueError, match='adds noise in its steps: pass key='):
        Ancestral().sample(analytic.gaussian, levels, x)
    with pytest.raises(ValueError, match='churn needs schedule'):
        registered('edm').sample(analytic.gaussian, levels, x, key=key)
