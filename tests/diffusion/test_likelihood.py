"""The bounds against closed forms: discrete masses that sum to one, and the bound of a known Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.diffusion import likelihood
from jaxgen.diffusion.schedules import EDM, Level, linear
from tests.diffusion import analytic

GREYS = jnp.arange(256) / 127.5 - 1


@pytest.mark.parametrize('mean', [-1.2, -0.3, 0.999])
@pytest.mark.parametrize('std', [0.003, 0.1, 2.0])
def test_masses_of_all_greys_sum_to_one(mean, std):
    with jax.enable_x64(True):
        greys = jnp.arange(256.0) / 127.5 - 1
        nll = likelihood.discretised_nll(greys[:, None], jnp.full((256, 1), mean), jnp.full((256, 1), std))
        np.testing.assert_allclose(jnp.sum(jnp.exp(-nll)), 1.0, rtol=1e-6)
        middle = 130
        inside = stats.norm.cdf((greys[middle] - mean + 1 / 255) / std) - stats.norm.cdf(
            (greys[middle] - mean - 1 / 255) / std
        )
        if inside > 1e-300:
            np.testing.assert_allclose(nll[middle], -np.log(inside), rtol=1e-5)


def test_kl_is_its_integral():
    x = np.linspace(-12, 12, 200_001)
    p, q = stats.norm.pdf(x, 0.3, 0.8), stats.norm.pdf(x, -0.5, 1.7)
    expected = np.sum(p * np.log(p / q)) * (x[1] - x[0])
    np.testing.assert_allclose(likelihood.gaussian_kl(0.3, 0.64, -0.5, 1.7**2), expected, rtol=1e-6)


def test_terms_of_a_known_gaussian_sum_to_the_papers_bound():
    """For x_0 ~ N(m, s^2) and the exact denoiser every L_t is a KL of two Gaussians with means linear in (x_0, noise)."""
    schedule = linear(10)
    ac = schedule.alphas_cumprod
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x0 = analytic.MEAN + analytic.STD * rng.normal(size=(200_000, 1))
        noise = rng.normal(size=x0.shape)
        for t in (1, 5, 9):
            at = jnp.full(len(x0), t)
            level = schedule.level(at)
            here = level.like(jnp.asarray(x0))
            x = here.alpha * x0 + here.sigma * noise
            estimated = analytic.gaussian(x, here)
            got = likelihood.discrete_term(schedule, jnp.asarray(x0), jnp.asarray(noise), at, estimated)
            # |x_0 - E[x_0|x]|^2 is the posterior's variance on average; times (SNR_{t-1} - SNR_t) / 2 (Kingma et al. 2021)
            snr, snr_before = ac[t] / (1 - ac[t]), ac[t - 1] / (1 - ac[t - 1])
            variance = 1 / (1 / analytic.STD**2 + snr)
            expected = 0.5 * (snr_before - snr) * variance
            np.testing.assert_allclose(jnp.mean(got), expected, rtol=0.02)


def test_learned_variances_at_their_ends_are_the_fixed_ones():
    schedule, t = linear(20), jnp.array([0, 3, 19])
    x0, noise = jax.random.normal(jax.random.key(0), (2, 3, 4))
    x0 = jnp.round((jnp.tanh(x0) + 1) * 127.5) / 127.5 - 1
    for end, name in ((-1.0, 'fixedsmall'), (1.0, 'fixedlarge')):
        fixed = likelihood.discrete_term(schedule, x0, noise, t, 0.9 * x0, name)
        learned = likelihood.discrete_term(schedule, x0, noise, t, 0.9 * x0, jnp.full_like(x0, end))
        np.testing.assert_allclose(learned, fixed, rtol=1e-4)


def test_continuous_bound_of_a_gaussian_is_its_entropy():
    """Prior, diffusion and reconstruction together bound -log p(x_0) of N(m, s^2) cut into grey levels, and nearly reach it."""
    schedule = EDM()
    rng = np.random.default_rng(1)
    num = 200_000
    with jax.enable_x64(True):
        grey = jnp.clip(jnp.round((analytic.MEAN * 0 + 0.25 * rng.normal(size=(num, 1)) + 1) * 127.5), 0, 255)
        x0, noise = grey / 127.5 - 1, jnp.asarray(rng.normal(size=(num, 1)))
        ends = np.log(np.array([0.02, 80.0]) ** 2)
        gamma = jnp.asarray(ends[0] + (ends[1] - ends[0]) * (np.arange(num) + rng.random(num)) / num)
        level = schedule.at(jnp.exp(gamma / 2))
        here = level.like(x0)
        x = here.alpha * x0 + here.sigma * noise
        estimated = 0.25**2 / (0.25**2 + here.sigma**2) * x  # exact for the Gaussian before it was cut
        bound = (
            jnp.mean(likelihood.continuous_term(x0, level, estimated, ends[1] - ends[0]))
            + jnp.mean(likelihood.prior_term(x0, schedule.at(np.array(80.0))))
            + jnp.mean(likelihood.reconstruction_term(x0, noise, schedule.at(np.array(0.02))))
        )
    entropy = 0.5 * np.log(2 * np.pi * np.e * 0.25**2) - np.log(1 / 127.5)
    assert abs(float(bound) - entropy) < 0.08, (float(bound), entropy)


def test_reconstruction_is_certain_where_there_is_hardly_noise():
    x0 = GREYS[::5].reshape(-1, 1)
    noise = jax.random.normal(jax.random.key(0), x0.shape)
    clean = likelihood.reconstruction_term(x0, noise, Level(np.array(1.0), np.array(1e-4), 0.0))
    np.testing.assert_allclose(clean, 0, atol=1e-5)
    blurred = likelihood.reconstruction_term(x0, noise, Level(np.array(1.0), np.array(50.0), 0.0))
    np.testing.assert_allclose(jnp.mean(blurred), np.log(256), atol=0.1)
