"""The inputs of a network in training and in sampling at the same noise level: all schedules, predictions and samplers."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.apps.rules import validate
from jaxgen.apps.untrained import build_method
from jaxgen.diffusion.compatibility import CONSISTENCY, MEAN_FLOW, compatible_combinations
from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.losses import sample_consistency_sigmas
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.schedules import EDMSchedule, linear
from jaxgen.methods.diffusion.objective import ConsistencyObjective, ConsistencyStages, Examples, mean_loss
from tests.helpers.recording import Calls, RecordingNetwork
from tests.tiny import tiny_config

KEY = jax.random.key(5)
NUM, COMPARED = 16, 2  # noise levels of each combination, and those at which sampling is compared
RNG = np.random.default_rng(0)
X0, NOISE = jnp.asarray(RNG.normal(size=(2, NUM, 4, 4, 1)), jnp.float32)
LABELS = jnp.asarray(RNG.permutation(NUM) % 10, jnp.int32)
OBJECTIVES = sorted({choice[:4] for choice in compatible_combinations()})


def with_samplers():
    """Return every objective with a sampler; the compatible samplers take turns."""
    found = []
    for i, objective in enumerate(OBJECTIVES):
        samplers = [choice.sampler for choice in compatible_combinations(objective[0]) if choice[:4] == objective]
        found.append((*objective, samplers[i % len(samplers)]))
    assert {choice[-1] for choice in found} == set(SAMPLERS)
    return found


def recorded(schedule, prediction, weighting, variance, sampler):
    """Return a method whose network records its inputs, and the record."""
    config = tiny_config(
        **{
            'diffusion.schedule': schedule,
            'diffusion.parameterisation': prediction,
            'diffusion.weighting': weighting,
            'diffusion.variance': variance,
            'sample.sampler': sampler,
        }
    )
    validate(config)
    made, calls = build_method(config, (4, 4, 1), 10), Calls()
    network = RecordingNetwork(made.network.out_channels, calls, num_classes=10)
    return dataclasses.replace(made, network=network), calls


def training_levels(ddpm, variables, times):
    """Return sigma / alpha at the noise level of each example, and at the level to which MeanFlow goes from there."""
    if ddpm.prediction == MEAN_FLOW:
        t, r = (np.asarray(time, np.float64) for time in times)
        return t / (1 - t), r / (1 - r)
    if ddpm.prediction == CONSISTENCY:
        t, r = (np.asarray(sigma, np.float64) for sigma in times)
        return t, r
    schedule = ddpm.schedule_of(variables)
    level = times if isinstance(times, Level) else schedule.level(schedule.gamma(times))
    alpha, sigma = (np.asarray(array, np.float64) for array in level[:2])
    ratio = sigma / np.maximum(alpha, 1e-30)
    return ratio, ratio / 2


@pytest.mark.parametrize('choice', with_samplers(), ids='-'.join)
def test_sampling_gives_the_network_the_inputs_of_training(choice):
    ddpm, calls = recorded(*choice)
    params = ddpm.init(KEY).params
    calls.take()
    times = ddpm.objective.sample_times(KEY, NUM, 0)
    mean_loss(ddpm.objective, ddpm.network, params, Examples(X0, NOISE, times, LABELS), KEY)
    in_training, *_ = calls.take()  # the loss of a consistency function asks at a second level as well
    assert in_training.train and in_training.has_dropout_key

    variables = {'params': params}
    ratios, next_ratios = training_levels(ddpm, variables, times)
    longest = np.argsort(next_ratios / ratios, kind='stable')  # for MeanFlow the longest steps first
    compared = [i for i in longest if ratios[i] < 1e6][:COMPARED]  # those with a signal
    assert len(compared) == COMPARED and next_ratios[compared[0]] < ratios[compared[0]]
    for i in compared:
        levels = ddpm.schedule_of(variables).at(np.array([ratios[i], next_ratios[i]]))
        x = levels.alpha[0] * X0[i : i + 1] + levels.sigma[0] * NOISE[i : i + 1]
        run = ddpm.prepare(variables, jax.random.split(KEY, 1), LABELS[i : i + 1], levels=levels, x=jnp.float32(x))
        run.step(run.carry, jax.tree.map(lambda table: table[0], run.steps))
        in_sampling = calls.take()[0]
        assert not in_sampling.train and not in_sampling.has_dropout_key
        np.testing.assert_allclose(in_sampling.x[0], in_training.x[i], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(in_sampling.t[0], in_training.t[i], rtol=1e-4, atol=1e-3)
        assert in_sampling.labels[0] == in_training.labels[i] == LABELS[i]


def test_a_step_adds_standard_normal_noise_to_each_image():
    ddpm, calls = recorded('linear', 'eps', 'simple', 'fixed', 'ddim')
    state, labels = ddpm.init(KEY), np.arange(64, dtype=np.int32) % 10
    calls.take()
    ddpm.step(state, {'image': jnp.zeros((64, 4, 4, 1)), 'label': labels}, KEY)
    (in_training,) = calls.take()
    noise = in_training.x / np.sqrt(1 - linear(20).alphas_cumprod[in_training.t.astype(int)]).reshape(-1, 1, 1, 1)
    assert stats.kstest(noise.ravel(), 'norm').pvalue > 1e-3
    assert len(np.unique(noise)) == noise.size
    np.testing.assert_array_equal(in_training.labels, labels)
    assert in_training.train and in_training.has_dropout_key


def test_both_calls_of_the_consistency_loss_share_dropout():
    """Otherwise the loss would compare two networks (Geng et al. 2024). The output of this network is its dropout mask."""

    class Dropping(nn.Module):
        @nn.compact
        def __call__(self, x, t, labels, *, train=False):
            return nn.Dropout(0.5, deterministic=not train)(jnp.ones_like(x))

    network, outputs = Dropping(), []

    class Recording:
        def __call__(self, apply, params, x0, noise, times):
            outputs.extend([apply(x0, times[0]), apply(x0, times[1])])
            return jnp.zeros(len(x0))

    times = jnp.ones(NUM), jnp.zeros(NUM)
    mean_loss(Recording(), network, {}, Examples(X0, NOISE, times, LABELS), KEY)
    np.testing.assert_array_equal(*outputs)
    assert 0.3 < jnp.mean(outputs[0] == 0) < 0.7


def test_the_stages_of_consistency_tuning_follow_the_updates():
    config = tiny_config(
        **{
            'diffusion.schedule': 'edm',
            'diffusion.parameterisation': 'consistency',
            'sample.sampler': 'consistency',
            'train.steps': 80,
        }
    )
    validate(config)
    objective = build_method(config, (4, 4, 1), 10).objective
    for updates, stage in ((0, 0), (9, 0), (10, 1), (79, 7)):
        found = objective.sample_times(KEY, NUM, jnp.int32(updates))
        np.testing.assert_allclose(found[1], sample_consistency_sigmas(KEY, NUM, stage)[1], rtol=1e-6)
    last = objective.sample_times(KEY, NUM, jnp.int32(10**6))  # of the eighth stage, in which q^8 = 256
    np.testing.assert_array_equal(last[1], objective.sample_times(KEY, NUM, jnp.int32(79))[1])
    for q, stages in ((1.5, 13), (2.0, 8), (16.0, 2), (256.0, 1), (1000.0, 1)):
        assert ConsistencyStages(1, q).last == stages - 1
        t, r = ConsistencyObjective(EDMSchedule(), ConsistencyStages(1, q)).sample_times(KEY, 1000, jnp.int32(50))
        assert np.all(r < t)
    config = config.replace({'diffusion.consistency_stage_steps': 100, 'diffusion.consistency_q': 256.0})
    t, r = build_method(config, (4, 4, 1), 10).objective.sample_times(KEY, NUM, jnp.int32(79))
    np.testing.assert_allclose(r, t * (1 - (1 + 8 / (1 + np.exp(t))) / 256), rtol=1e-5)
