"""Test the mathematics behind the pictures of docs/concepts: the mixture of Gaussians and its flow."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.diffusion import EDMSchedule, FlowSchedule, cosine, samplers
from jaxgen.diffusion.levels import Level

FOLDER = pathlib.Path(__file__).parents[2] / 'docs/concepts'


@pytest.fixture(scope='module')
def toy():
    """Return the module ``toy``, which is not part of the package."""
    spec = importlib.util.spec_from_file_location('toy', FOLDER / 'toy.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('level', [Level(1.0, 0.3, 0.0), Level(0.8, 0.6, 0.0), Level(0.0, 1.0, 0.0)])
def test_the_denoiser_is_the_mean_of_the_data_given_x(toy, level):
    """Compare it with an average over many points of the data, weighted by the likelihood of x."""
    mixture = toy.both()
    x0, x = mixture.sample(200_000), np.array([[0.1, -0.2], [0.6, 0.5], [-0.9, 0.3]])
    for point, found in zip(x, mixture.denoise(jnp.asarray(x), level), strict=True):
        weights = np.exp(-np.sum((point - level.alpha * x0) ** 2, axis=1) / (2 * level.sigma**2))
        np.testing.assert_allclose(found, weights @ x0 / weights.sum(), atol=0.01)


def test_the_distance_of_shifted_points_is_exact(toy):
    mixture = toy.both()
    points = mixture.sample(4000)
    assert mixture.distance(points) < 0.02
    # A shift by s moves a projection by |s| |cos|, and the mean of |cos| over all directions is 2 / pi.
    np.testing.assert_allclose(mixture.distance(points + np.array([0.3, 0.0])), 0.3 * 2 / np.pi, atol=0.02)


def test_the_flow_ends_where_a_sampler_with_many_steps_ends(toy):
    mixture, schedule = toy.both(), EDMSchedule()
    levels = schedule.levels(200)
    x = levels.sigma[0] * jax.random.normal(jax.random.key(0), (50, 2))
    first, last = (Level(*(a[i] for a in levels)) for i in (0, -1))
    end = toy.follow(mixture.denoise, x, first, last)
    sampled = samplers.heun(mixture.denoise, levels, x)
    assert np.quantile(np.abs(end - sampled), 0.9) < 0.01  # points at a border may end elsewhere


def test_the_flow_is_the_same_for_every_process(toy):
    """Follow the flow from the same noise, in the processes of ``flow`` and of ``edm``, to the same points."""
    mixture = toy.both()
    z = jax.random.normal(jax.random.key(0), (20, 2))
    ends = []
    for levels in (FlowSchedule().levels(1), EDMSchedule(sigma_max=1000.0).levels(1)):
        first, last = (Level(*(a[i] for a in levels)) for i in (0, 1))
        ends.append(toy.follow(mixture.denoise, np.hypot(first.alpha, first.sigma) * z, first, last))
    np.testing.assert_allclose(*ends, atol=0.01)


def test_samples_of_few_steps_are_farther_from_the_data(toy):
    mixture, schedule = toy.both(), cosine(1000)
    x = jax.random.normal(jax.random.key(0), (2000, 2))
    few, many = (mixture.distance(samplers.ddim(mixture.denoise, schedule.levels(n), x)) for n in (4, 40))
    assert few > 2 * many
