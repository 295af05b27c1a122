"""Our samplers against diffusers' schedulers: the same model outputs, the same start, the same images."""

import diffusers
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxgen.diffusion.predictions import estimate_x0
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.samplers.base import initial_noise
from jaxgen.diffusion.schedules import SCHEDULES, EDMSchedule, FlowSchedule

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 4, 4)).astype(np.float32)
WEIGHTS = RNG.normal(size=(3, 3)).astype(np.float32) / 2
NOISES = RNG.normal(size=(8, *X.shape)).astype(np.float32)  # of each step
PREDICTIONS = {'eps': 'epsilon', 'x0': 'sample', 'v': 'v_prediction'}
BETAS = {
    'linear_betas': {'beta_schedule': 'linear', 'beta_start': 1e-4, 'beta_end': 0.02},
    'linear_zero_snr': {
        'beta_schedule': 'linear',
        'beta_start': 1e-4,
        'beta_end': 0.02,
        'rescale_betas_zero_snr': True,
    },
    'cosine': {'beta_schedule': 'squaredcos_cap_v2'},
}


def ours(x, t):
    return jnp.tanh(jnp.einsum('nchw,cd->ndhw', x, WEIGHTS)) * (1 + jnp.reshape(t, (-1, 1, 1, 1)) / 1000)


def theirs(x, t):
    return torch.tanh(torch.einsum('nchw,cd->ndhw', x, torch.from_numpy(WEIGHTS))) * (1 + t / 1000)


def sampled_by(scheduler, num_steps, x, noisy=False, **options):
    scheduler.set_timesteps(num_steps)
    x = torch.from_numpy(x) * scheduler.init_noise_sigma
    for i, t in enumerate(scheduler.timesteps):
        if noisy:
            options['variance_noise'] = torch.from_numpy(NOISES[i])
        x = scheduler.step(theirs(scheduler.scale_model_input(x, t), t), t, x, **options).prev_sample
    return x.numpy()


def sampled(name, schedule, prediction, num_steps, x, **options):
    levels = schedule.levels(num_steps)

    def denoiser(x, level):
        return estimate_x0(prediction, ours, x, level)

    sampler = SAMPLERS[name].with_options(**options)
    return sampler.sample(denoiser, levels, initial_noise(levels, x), noise=lambda i: jnp.asarray(NOISES)[i])


@pytest.mark.parametrize('schedule', BETAS)
@pytest.mark.parametrize('prediction', PREDICTIONS)
@pytest.mark.parametrize('num_steps', [1, 8])  # divisors of 1000, because diffusers' steps have a whole length
def test_ddim(schedule, prediction, num_steps):
    if schedule == 'linear_zero_snr' and prediction == 'eps':
        pytest.skip('refused')
    scheduler = diffusers.DDIMScheduler(
        **BETAS[schedule], prediction_type=PREDICTIONS[prediction], clip_sample=False, timestep_spacing='trailing'
    )
    expected = sampled_by(scheduler, num_steps, X, eta=0.0)
    got = sampled('ddim', SCHEDULES[schedule](1000), prediction, num_steps, X)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize('eta', [0.7, 1.0])
def test_ddim_with_noise(eta):
    scheduler = diffusers.DDIMScheduler(**BETAS['linear_betas'], clip_sample=False, timestep_spacing='trailing')
    expected = sampled_by(scheduler, 8, X, noisy=True, eta=eta)
    got = sampled('ddim', SCHEDULES['linear_betas'](1000), 'eps', 8, X, eta=eta)
    np.testing.assert_allclose(got, expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize('num_steps', [2, 8])
@pytest.mark.parametrize(('name', 'algorithm'), [('dpmpp_2m', 'dpmsolver++'), ('dpmpp_2m_sde', 'sde-dpmsolver++')])
def test_dpmpp_2m(name, algorithm, num_steps):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **BETAS['linear_betas'],
        algorithm_type=algorithm,
        timestep_spacing='trailing',
        final_sigmas_type='zero',
        lower_order_final=True,
    )
    expected = sampled_by(scheduler, num_steps, X, noisy=name.endswith('sde'))
    got = sampled(name, SCHEDULES['linear_betas'](1000), 'eps', num_steps, X)
    np.testing.assert_allclose(got, expected, atol=2e-4 * np.abs(expected).max())


def test_heun():
    """Their sampler starts from sigma / alpha times noise, ours from noise of unit variance."""
    scheduler = diffusers.HeunDiscreteScheduler(**BETAS['linear_betas'], timestep_spacing='trailing')
    schedule = SCHEDULES['linear_betas'](1000)
    expected = sampled_by(scheduler, 8, X / np.float32(schedule.levels(8).sigma[0]))
    got = sampled('heun', schedule, 'eps', 8, X)
    np.testing.assert_allclose(got, expected, atol=2e-4 * np.abs(expected).max())


def test_flow_by_euler():
    """Their sigmas begin at 1 and end at 0, evenly, if no shift is asked for."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000)
    sigmas = np.linspace(1, 0, 9)[:-1]
    scheduler.set_timesteps(sigmas=sigmas)
    x = torch.from_numpy(X)
    for t in scheduler.timesteps:
        x = scheduler.step(theirs(x, t), t, x).prev_sample
    np.testing.assert_allclose(sampled('ddim', FlowSchedule(), 'flow', 8, X), x.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ('name', 'scheduler'), [('ddim', 'EDMEulerScheduler'), ('dpmpp_2m', 'EDMDPMSolverMultistepScheduler')]
)
def test_edm(name, scheduler):
    scheduler = getattr(diffusers, scheduler)(sigma_data=0.5)
    expected = sampled_by(scheduler, 8, X)
    got = sampled(name, EDMSchedule(), 'edm', 8, X)
    np.testing.assert_allclose(got, expected, atol=1e-3 * np.abs(expected).max())


def test_heun_is_edms_own_loop():
    """generate.py of NVlabs/edm, 18 steps, written here in NumPy after their algorithm 1."""
    levels = EDMSchedule().levels(18)
    sigma = levels.sigma

    def denoise(x, s):
        c_in, c_skip = 1 / np.sqrt(s**2 + 0.25), 0.25 / (s**2 + 0.25)
        out = s * 0.5 / np.sqrt(s**2 + 0.25)
        return c_skip * x + out * np.asarray(ours(jnp.asarray(c_in * x), jnp.asarray(np.log(s) / 4)))

    x = np.hypot(1, sigma[0]) * X.astype(np.float64)
    for now, then in zip(sigma[:-1], sigma[1:], strict=True):
        d = (x - denoise(x, now)) / now
        euler = x + (then - now) * d
        if then > 0:
            euler = x + (then - now) * (d + (euler - denoise(euler, then)) / then) / 2
        x = euler
    np.testing.assert_allclose(sampled('heun', EDMSchedule(), 'edm', 18, X), x, atol=1e-3)
