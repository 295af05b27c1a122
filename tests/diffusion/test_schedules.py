"""Schedules against their papers' formulas, and every schedule of the registry against the needs of a sampler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.diffusion.losses import add_noise
from jaxgen.diffusion.posterior import posterior_coefficients
from jaxgen.diffusion.schedules import (
    SCHEDULES,
    DiscreteSchedule,
    EDMSchedule,
    LearnedSchedule,
    Level,
    cosine,
    linear,
    linear_betas,
)
from tests.diffusion import analytic


def test_linear_schedule_is_the_papers():
    schedule = linear(1000)
    assert schedule.betas.dtype == np.float64
    np.testing.assert_allclose(schedule.betas[[0, 1, -1]], [1e-4, 1e-4 + 0.0199 / 999, 0.02], rtol=1e-9)
    np.testing.assert_allclose(schedule.alphas_cumprod[-1], 4.0358e-5, rtol=1e-4)  # diffusers' and Ho's own table
    np.testing.assert_allclose(linear_betas(1000).betas, schedule.betas, rtol=1e-9)


@pytest.mark.parametrize('timesteps', [10, 100, 250, 4000])
def test_linear_ends_with_the_same_noise_for_any_t(timesteps):
    ac = linear(timesteps).alphas_cumprod
    np.testing.assert_allclose(ac[-1], linear(1000).alphas_cumprod[-1], rtol=1e-10)
    halfway = timesteps // 2 - 1
    np.testing.assert_allclose(ac[halfway], linear(1000).alphas_cumprod[499], rtol=1e-10)


def test_cosine_is_equation_17():
    schedule = cosine(1000)
    f = [np.cos((t / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2 for t in range(1001)]
    np.testing.assert_allclose(schedule.alphas_cumprod[:-1], np.array(f[1:-1]) / f[0], rtol=1e-9)
    assert schedule.betas[-1] == 0.999


@pytest.mark.parametrize('name', ['linear', 'cosine'])
def test_zero_terminal_snr_changes_the_last_level_not_the_first(name):
    before, after = SCHEDULES[name](1000), SCHEDULES[f'{name}_zero_snr'](1000)
    assert after.alphas_cumprod[-1] == 0
    np.testing.assert_allclose(after.alphas_cumprod[0], before.alphas_cumprod[0], rtol=1e-12)


def test_impossible_schedules_are_refused():
    for betas in ([0.1, 1.0, 0.1], [0.0, 0.1], [[0.1]], [1.1]):
        with pytest.raises(ValueError, match='betas'):
            DiscreteSchedule(np.array(betas))


def test_edms_levels_are_equation_5():
    levels = EDMSchedule().levels(18)
    expected = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    np.testing.assert_allclose(levels.sigma, [*expected, 0.0], rtol=1e-12)
    drawn = np.log(EDMSchedule().sample_levels(jax.random.key(0), 20_000).sigma)
    assert abs(drawn.mean() + 1.2) < 0.03 and abs(drawn.std() - 1.2) < 0.03


def test_learned_schedule_rises_between_its_ends():
    schedule = LearnedSchedule(LearnedSchedule().init(jax.random.key(1)))
    gamma = schedule.gamma(jnp.linspace(0, 1, 101))
    np.testing.assert_allclose(gamma[jnp.array([0, 100])], [-13.3, 5.0], atol=1e-5)
    assert jnp.all(jnp.diff(gamma) > 0)
    params = jax.tree.map(lambda x: x + jax.random.normal(jax.random.key(2), x.shape), schedule.params)
    assert jnp.all(jnp.diff(LearnedSchedule(params).gamma(jnp.linspace(0, 1, 101))) > 0)
    times = np.sort(schedule.sample_times(jax.random.key(0), 8))
    np.testing.assert_allclose(np.diff(times), 1 / 8, atol=1e-6)  # one in each eighth


@pytest.mark.parametrize('name', SCHEDULES)
def test_levels_fall_to_the_data_and_are_found_again(name):
    schedule = analytic.schedule(name, 100)
    levels = [np.asarray(z, np.float64) for z in schedule.levels(20)]
    assert all(z.shape == (21,) for z in levels)
    assert levels[0][-1] == 1 and levels[1][-1] == 0
    assert np.all(np.diff(levels[1] / np.maximum(levels[0], 1e-9)) < 0)
    inner = slice(1, -1)  # without the first, which may have no signal
    again = schedule.at(levels[1][inner] / levels[0][inner])
    for z, expected in zip(again, levels, strict=True):
        np.testing.assert_allclose(z, expected[inner], rtol=2e-4, atol=2e-4)
    drawn = schedule.sample_levels(jax.random.key(0), 16)
    assert all(z.shape == (16,) for z in drawn)


def test_add_noise_is_t_steps_of_equation_2():
    """Mean and variance after t one-step transitions x <- sqrt(1 - beta) x + sqrt(beta) z."""
    schedule = linear(50)
    scale, variance = 1.0, 0.0
    with jax.enable_x64(True):
        x0, noise = jnp.array([[0.7]]), jnp.array([[-1.3]])
        for t, beta in enumerate(schedule.betas):
            scale, variance = scale * np.sqrt(1 - beta), (1 - beta) * variance + beta
            got = add_noise(x0, noise, schedule.level(jnp.array([t])))
            np.testing.assert_allclose(got, scale * 0.7 - np.sqrt(variance) * 1.3, rtol=1e-12)


def test_each_example_has_its_own_timestep():
    schedule = linear(1000)
    x0, noise, t = jnp.ones((3, 2, 2, 1)), jnp.zeros((3, 2, 2, 1)), jnp.array([0, 500, 999])
    got = add_noise(x0, noise, schedule.level(t))[:, 0, 0, 0]
    np.testing.assert_allclose(got, np.sqrt(schedule.alphas_cumprod[[0, 500, 999]]), rtol=1e-6)


def test_the_posterior_is_bayes_rule():
    """q(x_next | x, x_0) from the joint Gaussian of (x_next, x) given x_0, by conditioning; any two levels."""
    a, s, a2, s2 = (np.array(z) for z in ([0.3, 1.0], [0.9, 5.0], [0.8, 1.0], [0.6, 0.2]))
    got = posterior_coefficients(Level(a, s, None), Level(a2, s2, None))
    for i in range(2):
        ratio = a[i] / a2[i]  # x = ratio x_next + sqrt(forward_variance) z
        var_next, var, cov = s2[i] ** 2, s[i] ** 2, ratio * s2[i] ** 2
        np.testing.assert_allclose(got.coef_xt[i], cov / var, rtol=1e-10)
        np.testing.assert_allclose(got.coef_x0[i], a2[i] - cov / var * a[i], rtol=1e-10)
        np.testing.assert_allclose(got.posterior_variance[i], var_next - cov**2 / var, rtol=1e-10)
        np.testing.assert_allclose(got.forward_variance[i], var - ratio**2 * var_next, rtol=1e-10)
