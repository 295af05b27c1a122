"""The bounds against closed forms: discrete masses that sum to one, and the bound of a known Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.diffusion import likelihood
from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.schedules import EDMSchedule, linear, linear_betas
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


@pytest.mark.parametrize('fraction', [None, 0.4])
def test_terms_of_a_known_gaussian_sum_to_the_papers_bound(fraction):
    """For x_0 ~ N(m, s^2) and the exact denoiser all terms are quadratic in (x_0, noise), but for the ends of the decoder's
    bins: a sum at Gauss and Hermite's points is their mean. The chain is short, so that its prior is large.
    """
    schedule, mean, std = linear_betas(20, 0.002, 0.05), 0.1, 0.15
    betas = schedule.betas
    ac = np.cumprod(1 - betas)
    points, weights = np.polynomial.hermite_e.hermegauss(12)
    weights = np.outer(weights, weights).reshape(-1) / (2 * np.pi)
    with jax.enable_x64(True):
        x0, noise = (jnp.asarray(z.reshape(-1, 1)) for z in np.meshgrid(mean + std * points, points))
        variance = 'fixedsmall' if fraction is None else jnp.full_like(x0, fraction)
        got = [weights @ likelihood.prior_term(x0, schedule.level(jnp.full(len(x0), 19)))]
        for t in range(20):
            at = jnp.full(len(x0), t)
            here = schedule.level(at).broadcast_to(x0)
            x = here.alpha * x0 + here.sigma * noise
            estimated = mean + here.alpha * std**2 / (here.alpha**2 * std**2 + here.sigma**2) * (x - here.alpha * mean)
            got.append(weights @ likelihood.timestep_term(schedule, x0, noise, at, estimated, variance=variance))
    snr = ac / (1 - ac)
    wrong = 1 / (1 / std**2 + snr)  # the variance of x_0 given x
    small = betas[1:] * (1 - ac[:-1]) / (1 - ac[1:])
    share = 0 if fraction is None else (fraction + 1) / 2
    chosen = betas**share * np.append(small[0], small) ** (1 - share)
    ratio = small / chosen[1:]
    # Their means differ by (SNR_{t-1} - SNR_t) / 2 of the error in x_0, over the smaller variance (Kingma et al. 2021)
    kl = 0.5 * (ratio - 1 - np.log(ratio) + ratio * (snr[:-1] - snr[1:]) * wrong[1:])
    decoder = 0.5 * (np.log(2 * np.pi * chosen[0]) + wrong[0] / chosen[0]) - np.log(2 / 255)
    prior = 0.5 * (ac[-1] * (mean**2 + std**2) - ac[-1] - np.log(1 - ac[-1]))
    np.testing.assert_allclose(np.array(got).reshape(-1), [prior, decoder, *kl], rtol=2e-3)
    np.testing.assert_allclose(np.sum(got), prior + decoder + np.sum(kl), rtol=1e-3)
    assert prior > 0.1 and np.sum(got) > 0.5 * np.log(2 * np.pi * np.e * std**2) - np.log(2 / 255)  # the entropy


def test_learned_variances_at_their_ends_are_the_fixed_ones():
    schedule, t = linear(20), jnp.array([0, 3, 19])
    x0, noise = jax.random.normal(jax.random.key(0), (2, 3, 4))
    x0 = jnp.round((jnp.tanh(x0) + 1) * 127.5) / 127.5 - 1
    for end, name in ((-1.0, 'fixedsmall'), (1.0, 'fixedlarge')):
        fixed = likelihood.timestep_term(schedule, x0, noise, t, 0.9 * x0, variance=name)
        learned = likelihood.timestep_term(schedule, x0, noise, t, 0.9 * x0, variance=jnp.full_like(x0, end))
        np.testing.assert_allclose(learned, fixed, rtol=1e-4)


def test_continuous_bound_of_a_gaussian_is_its_entropy():
    """Their sum is a bound on -log p(x_0) of N(m, s^2) rounded to grey levels, and is close to it."""
    schedule = EDMSchedule()
    rng = np.random.default_rng(1)
    num = 200_000
    with jax.enable_x64(True):
        grey = jnp.clip(jnp.round((analytic.MEAN * 0 + 0.25 * rng.normal(size=(num, 1)) + 1) * 127.5), 0, 255)
        x0, noise = grey / 127.5 - 1, jnp.asarray(rng.normal(size=(num, 1)))
        ends = np.log(np.array([0.02, 80.0]) ** 2)
        gamma = jnp.asarray(ends[0] + (ends[1] - ends[0]) * (np.arange(num) + rng.random(num)) / num)
        level = schedule.at(jnp.exp(gamma / 2))
        here = level.broadcast_to(x0)
        x = here.alpha * x0 + here.sigma * noise
        estimated = 0.25**2 / (0.25**2 + here.sigma**2) * x  # exact for the Gaussian before it was rounded
        bound = (
            jnp.mean(likelihood.diffusion_term(x0, level, estimated, ends[1] - ends[0]))
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
