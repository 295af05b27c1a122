"""Every sampler against its law on Gaussian data, where the exact denoiser is affine and all is in closed form.

For x_0 ~ N(m, s^2) a sampler's output is an affine function of its start and of the noise of each step. The
derivatives of that function, taken from the sampler itself, give the exact law of its samples; the paper's recursion
for mean and variance, written here without the sampler's tables, must give the same.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.diffusion import samplers
from jaxgen.diffusion.schedules import Schedule, linear

MEAN, STD = 0.3, 0.5


def exact_denoiser(schedule):
    """E[x_0 | x_t] for x_0 ~ N(MEAN, STD^2)."""
    ac = jnp.asarray(schedule.alphas_cumprod)

    def denoise(x, t):
        return MEAN + jnp.sqrt(ac[t]) * STD**2 / (ac[t] * STD**2 + 1 - ac[t]) * (x - jnp.sqrt(ac[t]) * MEAN)

    return denoise


def law(name, schedule, num_steps):
    """Mean and variance of the samples, from the value at zero noise and the derivatives with respect to all noise."""

    def draw(noises):
        x, steps = noises[0:1], noises[1:]
        return samplers.SAMPLERS[name](exact_denoiser(schedule), schedule, x, lambda i: steps[i][None], num_steps)[0]

    with jax.enable_x64(True):
        zeros = jnp.zeros(num_steps + 1, jnp.float64)
        mean, slopes = jax.jit(draw)(zeros), jax.jit(jax.grad(draw))(zeros)
        return float(mean), float(jnp.sum(slopes**2))


def recursion(name, schedule, timesteps):
    """Mean and variance by the papers' formulas in terms of alpha_t, beta_t and the noise estimate."""
    ac = np.cumprod(1 - schedule.betas)
    mean, variance = 0.0, 1.0
    for i, t in enumerate(timesteps):
        last = i == len(timesteps) - 1
        now, then = ac[t], 1.0 if last else ac[timesteps[i + 1]]
        gain = np.sqrt(now) * STD**2 / (now * STD**2 + 1 - now)  # x0 = MEAN + gain (x - sqrt(now) MEAN)
        x0_at_0 = MEAN - gain * np.sqrt(now) * MEAN
        eps_slope, eps_at_0 = (1 - np.sqrt(now) * gain) / np.sqrt(1 - now), -np.sqrt(now / (1 - now)) * x0_at_0
        if name == 'ddim':  # equation 12 of Song et al. with sigma 0
            slope = np.sqrt(then) * gain + np.sqrt(1 - then) * eps_slope
            offset = np.sqrt(then) * x0_at_0 + np.sqrt(1 - then) * eps_at_0
            std = 0.0
        else:  # algorithm 2 of Ho et al.: (x - beta / sqrt(1 - ac) eps) / sqrt(alpha) + sigma z
            alpha = now / then
            slope = (1 - (1 - alpha) / np.sqrt(1 - now) * eps_slope) / np.sqrt(alpha)
            offset = -(1 - alpha) / np.sqrt(1 - now) * eps_at_0 / np.sqrt(alpha)
            small = (1 - then) / (1 - now) * (1 - alpha)
            std = 0.0 if last else np.sqrt(small if name == 'ddpm_fixedsmall' else 1 - alpha)
        mean, variance = slope * mean + offset, slope**2 * variance + std**2
    return mean, variance


@pytest.mark.parametrize('num_steps', [1, 2, 7, 100, 1000])
@pytest.mark.parametrize('name', samplers.SAMPLERS)
def test_law_equals_the_papers_recursion(name, num_steps):
    schedule = linear(1000)
    expected = recursion(name, schedule, samplers.trailing_timesteps(1000, num_steps))
    np.testing.assert_allclose(law(name, schedule, num_steps), expected, rtol=0, atol=1e-10)


def test_all_timesteps_reach_the_data():
    """On the paper's schedule, both variances of Ho et al. and DDIM end close to the data, fixedlarge above it."""
    schedule = linear(1000)
    for name in samplers.SAMPLERS:
        mean, variance = law(name, schedule, 1000)
        assert abs(mean - MEAN) < 5e-3
        assert abs(np.sqrt(variance) - STD) < 5e-3


def test_ddim_converges_to_the_data():
    """Its error falls as the steps grow: on T finer timesteps of one continuous schedule, at first order."""
    errors = []
    for timesteps in (100, 200, 400, 800, 1600):
        schedule = Schedule(1 - np.exp(-40 / timesteps * (np.arange(timesteps) + 0.5) / timesteps))
        mean, variance = law('ddim', schedule, timesteps)
        errors.append(abs(np.sqrt(variance) - STD) + abs(mean - MEAN))
    ratios = np.array(errors[:-1]) / np.array(errors[1:])
    assert errors[-1] < 2e-3
    assert np.all((ratios > 1.8) & (ratios < 2.2)), ratios


def test_trailing_timesteps():
    np.testing.assert_array_equal(samplers.trailing_timesteps(1000, 1000), np.arange(999, -1, -1))
    np.testing.assert_array_equal(samplers.trailing_timesteps(1000, 4), [999, 749, 499, 249])
    steps = samplers.trailing_timesteps(1000, 37)
    assert steps[0] == 999 and len(set(steps)) == 37 and np.all(np.diff(steps) < 0)
    for wrong in (0, 1001):
        with pytest.raises(ValueError, match='1000 timesteps'):
            samplers.trailing_timesteps(1000, wrong)


@pytest.mark.parametrize('name', samplers.SAMPLERS)
def test_a_perfect_denoiser_ends_at_x0(name):
    x0 = jnp.linspace(-1, 1, 6).reshape(2, 3)
    x = samplers.SAMPLERS[name](lambda x, t: x0, linear(1000), jnp.ones((2, 3)), lambda i: jnp.ones((2, 3)), 10)
    np.testing.assert_allclose(x, x0, atol=1e-6)
