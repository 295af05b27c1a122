"""The forward process and its posterior against the definition: T products of one-step Gaussians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.diffusion import process
from jaxgen.diffusion.schedules import Schedule, linear


def test_linear_schedule_is_the_papers():
    schedule = linear(1000)
    assert schedule.betas.dtype == np.float64
    np.testing.assert_allclose(schedule.betas[[0, 1, -1]], [1e-4, 1e-4 + 0.0199 / 999, 0.02], rtol=1e-14)
    np.testing.assert_allclose(schedule.alphas_cumprod[-1], 4.0358e-5, rtol=1e-4)  # diffusers' and Ho's own table


def test_schedule_refuses_what_is_none():
    for betas in ([0.1, 1.0], [0.0, 0.1], [[0.1]]):
        with pytest.raises(ValueError, match='betas'):
            Schedule(np.array(betas))


def test_add_noise_is_t_steps_of_equation_2():
    """Mean and variance after t one-step transitions x <- sqrt(1 - beta) x + sqrt(beta) z."""
    schedule = linear(50)
    scale, variance = 1.0, 0.0
    with jax.enable_x64(True):
        x0, noise = jnp.array([[0.7]]), jnp.array([[-1.3]])
        for t, beta in enumerate(schedule.betas):
            scale, variance = scale * np.sqrt(1 - beta), (1 - beta) * variance + beta
            got = process.add_noise(schedule, x0, noise, jnp.array([t]))
            np.testing.assert_allclose(got, scale * 0.7 - np.sqrt(variance) * 1.3, rtol=1e-12)
            np.testing.assert_allclose(process.noise_to_x0(schedule, got, noise, jnp.array([t])), x0, rtol=1e-12)


def test_each_example_has_its_own_timestep():
    schedule = linear(1000)
    x0, noise, t = jnp.ones((3, 2, 2, 1)), jnp.zeros((3, 2, 2, 1)), jnp.array([0, 500, 999])
    got = process.add_noise(schedule, x0, noise, t)[:, 0, 0, 0]
    np.testing.assert_allclose(got, np.sqrt(schedule.alphas_cumprod[[0, 500, 999]]), rtol=1e-6)


def test_posterior_is_bayes_rule():
    """q(x_prev | x_t, x_0) from the joint Gaussian of (x_prev, x_t) given x_0, by conditioning."""
    ac = linear(1000).alphas_cumprod
    prev, now = ac[[3, 400]], ac[[10, 900]]  # not neighbours: a sampler that skips
    a, b, variance, beta = process.posterior_coefficients(now, prev)
    for i in range(2):
        ratio = np.sqrt(now[i] / prev[i])  # x_t = ratio x_prev + sqrt(1 - ratio^2) z
        var_prev, var_now, cov = 1 - prev[i], 1 - now[i], ratio * (1 - prev[i])
        np.testing.assert_allclose(b[i], cov / var_now, rtol=1e-10)
        np.testing.assert_allclose(a[i], np.sqrt(prev[i]) - cov / var_now * np.sqrt(now[i]), rtol=1e-10)
        np.testing.assert_allclose(variance[i], var_prev - cov**2 / var_now, rtol=1e-10)
        np.testing.assert_allclose(beta[i], 1 - ratio**2, rtol=1e-10)


def test_loss_is_the_mean_square_per_example():
    x0, noise = jnp.zeros((2, 2, 2, 3)), jnp.ones((2, 2, 2, 3))
    loss = process.noise_prediction_loss(
        lambda x, t: noise * t[:, None, None, None], linear(10), x0, noise, jnp.arange(2) * 3
    )
    np.testing.assert_allclose(loss, [1.0, 4.0])
