"""The noise levels and times of training against their distributions, for every schedule of the registry and for MeanFlow.

The seeds are fixed. A correct distribution fails with probability ``UNLIKELY``; a wrong one hardly ever passes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.diffusion import losses
from jaxgen.diffusion.compatibility import is_discrete
from jaxgen.diffusion.schedules import SCHEDULES, EDMSchedule
from tests.diffusion import analytic

KEY = jax.random.key(3)
NUM = 4000
UNLIKELY = 1e-3
TIMESTEPS = 20


def edm_quantile(level):
    """Return the quantile of ln(sigma), which is normal with mean -1.2 and deviation 1.2 (Karras et al. 2022, table 1)."""
    return stats.norm.cdf((np.log(level.sigma) + 1.2) / 1.2)


def flow_quantile(level):
    return level.sigma


def learned_quantile(level):
    """Return the time at which the schedule has this signal-to-noise ratio; the time is uniform."""
    schedule, times = analytic.schedule('learned'), np.linspace(0, 1, 2001)
    gamma = 2 * np.log(np.asarray(level.sigma, np.float64) / level.alpha)
    return np.interp(gamma, np.asarray(schedule.gamma(jnp.asarray(times, jnp.float32))), times)


# Functions from levels to numbers that are uniform if the levels have the right distribution; add new schedules here.
QUANTILES = {'edm': edm_quantile, 'flow': flow_quantile, 'learned': learned_quantile}


@pytest.mark.parametrize('name', [name for name in SCHEDULES if is_discrete(name)])
def test_training_samples_every_timestep_as_often(name):
    schedule = analytic.schedule(name, TIMESTEPS)
    level = schedule.sample_levels(KEY, NUM)
    counts = np.bincount(level.t, minlength=TIMESTEPS)
    assert len(counts) == TIMESTEPS and stats.chisquare(counts).pvalue > UNLIKELY
    kept = schedule.alphas_cumprod[level.t]
    np.testing.assert_allclose(level.alpha, np.sqrt(kept), rtol=1e-6)
    np.testing.assert_allclose(level.sigma, np.sqrt(1 - kept), rtol=1e-6)


@pytest.mark.parametrize('name', [name for name in SCHEDULES if not is_discrete(name)])
def test_training_samples_levels_of_the_papers_distribution(name):
    level = analytic.schedule(name).sample_levels(KEY, NUM)
    assert stats.kstest(QUANTILES[name](level), 'uniform').pvalue > UNLIKELY


def test_a_wrong_distribution_is_noticed():
    """The tests above detect a mean that is off by a tenth of a deviation, or a deviation that is off by a fifth."""
    for wrong in (EDMSchedule(log_mean=-1.08), EDMSchedule(log_std=1.44)):
        assert stats.kstest(edm_quantile(wrong.sample_levels(KEY, NUM)), 'uniform').pvalue < UNLIKELY


@pytest.mark.parametrize('stage', [0, 3, 7])
def test_consistency_levels_have_the_papers_distribution(stage):
    """Geng et al. 2024: ln(t) ~ N(-1.1, 2^2) and r = t (1 - n(t) / q^(stage + 1)), not below 0, with n = 1 + 8 sigmoid(-t)."""
    t, r = (np.asarray(x, np.float64) for x in losses.sample_consistency_sigmas(KEY, NUM, jnp.int32(stage), 2.0))
    assert stats.kstest(np.log(t), stats.norm(-1.1, 2).cdf).pvalue > UNLIKELY
    share = (1 + 8 / (1 + np.exp(t))) / 2 ** (stage + 1)
    np.testing.assert_allclose(r, np.maximum(t * (1 - share), 0), rtol=1e-4, atol=1e-7)
    assert np.all(r < t) and np.any(r == 0) == (stage == 0)


def test_mean_flow_times_have_the_papers_distribution():
    """Geng et al. 2025: the larger and the smaller of two logistic normal times, made equal in three of four."""
    t, r = (np.asarray(times, np.float64) for times in losses.sample_mean_flow_times(KEY, NUM))
    cdf = stats.norm(-0.4, 1).cdf

    def quantile(times):
        return cdf(np.log(times / (1 - times)))

    equal = r == t
    assert np.all(r <= t)
    assert stats.binomtest(int(equal.sum()), NUM, 0.75).pvalue > UNLIKELY
    for larger in (t[equal], t[~equal]):  # whether they are equal does not depend on the larger one
        assert stats.kstest(quantile(larger) ** 2, 'uniform').pvalue > UNLIKELY
    assert stats.kstest(1 - (1 - quantile(r[~equal])) ** 2, 'uniform').pvalue > UNLIKELY
    below = quantile(r[~equal]) / quantile(t[~equal])  # given the larger one, the smaller is any time below it
    assert stats.kstest(below, 'uniform').pvalue > UNLIKELY
