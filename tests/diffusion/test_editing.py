"""The mathematics of editing: levels of a strength, kept pixels, inversion of DDIM, and the great circle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.diffusion import editing, samplers
from jaxgen.diffusion.schedules import SCHEDULES, EDMSchedule
from tests.diffusion import analytic


def test_strength_is_the_share_of_the_steps():
    levels = SCHEDULES['linear'](1000).levels(10)
    assert len(editing.last_levels(levels, 1.0).t) == 11
    half = editing.last_levels(levels, 0.5)
    np.testing.assert_array_equal(half.t, levels.t[5:])
    assert len(editing.last_levels(levels, 0.01).t) == 2


@pytest.mark.parametrize('name', [n for n in samplers.SAMPLERS if n != 'mean_flow'])
def test_kept_pixels_come_out_of_every_sampler(name):
    schedule = EDMSchedule()
    levels = schedule.levels(6)
    known, mask = jnp.full((1, 4, 4, 1), 0.25), jnp.zeros((4, 4, 1)).at[1:3, 1:3].set(1)
    edit = editing.keep_known(known, mask)

    def denoiser(x, level):
        return edit(jnp.tanh(x))

    start = jax.random.normal(jax.random.key(0), (1, 4, 4, 1)) * levels.sigma[0]
    sampler = samplers.SAMPLERS[name].with_options(**{'churn': 2.0} if name == 'edm' else {})
    made = sampler.sample(denoiser, levels, start, noise=lambda i: jnp.ones_like(start), schedule=schedule)
    np.testing.assert_allclose(jnp.where(mask > 0, 0, made - known), 0, atol=1e-6)
    assert jnp.all(jnp.where(mask > 0, jnp.abs(made - known) > 1e-3, True))


@pytest.mark.parametrize('schedule', ['linear', 'cosine', 'edm', 'flow'])
def test_inversion_finds_the_noise_from_which_ddim_samples(schedule):
    """On Gaussian data every step is affine, and each fixed-point iteration reduces the error by a factor."""
    with jax.enable_x64(True):
        levels = analytic.schedule(schedule).levels(25)
        image = jnp.linspace(-1.0, 1.2, 7)
        errors = []
        for iterations in (1, 3, 40):
            start = samplers.ddim_inversion(analytic.gaussian, levels, image, iterations=iterations)
            again = samplers.ddim(analytic.gaussian, levels, start)
            errors.append(float(jnp.max(jnp.abs(again - image))))
        assert errors[2] < 1e-6 and errors[2] < errors[1] < errors[0], errors


def test_slerp_stays_on_the_circle_and_ends_at_its_ends():
    a, b = jnp.array([3.0, 0.0]), jnp.array([0.0, 3.0])
    got = editing.slerp(a, b, jnp.array([0.0, 1 / 3, 1.0]))
    np.testing.assert_allclose(got, [[3, 0], [3 * np.cos(np.pi / 6), 3 * np.sin(np.pi / 6)], [0, 3]], atol=1e-6)
    np.testing.assert_allclose(editing.slerp(a, a, jnp.array([0.3])), [a], atol=1e-6)
