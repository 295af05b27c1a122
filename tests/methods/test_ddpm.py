"""Every compatible combination takes a step and samples, with the smallest of networks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.apps.rules import validate
from jaxgen.apps.untrained import build_method
from jaxgen.diffusion.compatibility import FEW_STEP, MEAN_FLOW, compatible_combinations
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.errors import UserError
from jaxgen.methods.diffusion.objective import drop_labels
from tests.helpers.product_network import ProductNetwork
from tests.tiny import tiny_config

KEY = jax.random.key(0)
OBJECTIVES = sorted({choice[:4] for choice in compatible_combinations()})


def method(*choice, **fields):
    schedule, parameterisation, weighting, variance, sampler = choice
    c = tiny_config(
        **{
            'diffusion.schedule': schedule,
            'diffusion.parameterisation': parameterisation,
            'diffusion.weighting': weighting,
            'diffusion.variance': variance,
            'sample.sampler': sampler,
            'diffusion.label_dropout': 0.25,
            'optimizer.warmup_steps': 0,
            **fields,
        }
    )
    validate(c)
    made = build_method(c, (8, 8, 1), 10)
    return dataclasses.replace(made, network=ProductNetwork(made.network.out_channels, made.network.num_classes))


@pytest.mark.parametrize('objective', OBJECTIVES, ids='-'.join)
def test_compatible_combinations_take_a_step(objective):
    sampler = objective[1] if objective[1] in FEW_STEP else 'ddim'
    ddpm = method(*objective, sampler)
    model = ddpm.init(KEY)
    batch = {'image': jnp.sin(jnp.arange(4 * 64.0)).reshape(4, 8, 8, 1), 'label': jnp.arange(4)}
    after, metrics = ddpm.step(
        model, batch, KEY
    )  # not compiled as a whole: the operations that they share are compiled once
    assert all(jnp.isfinite(x) for x in metrics.values()), metrics
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), model.params, after.params)
    still = {jax.tree_util.keystr(path) for path, x in jax.tree.leaves_with_path(moved) if not x}
    assert not still, still


@pytest.mark.parametrize('choice', compatible_combinations(schedule='linear')[:1] + [
    ('linear_zero_snr', 'v', 'simple', 'fixed', 'ddpm'),
    ('cosine', 'eps', 'simple', 'learned', 'ddpm'),
    ('cosine', 'eps', 'simple', 'learned', 'dpmpp_2m'),
    ('edm', 'edm', 'simple', 'fixed', 'edm'),
    ('flow', 'flow', 'min_snr', 'fixed', 'heun'),
    ('flow', 'mean_flow', 'simple', 'fixed', 'mean_flow'),
    ('learned', 'v', 'elbo', 'fixed', 'heun'),
    *(compatible_combinations(sampler=name)[-1] for name in SAMPLERS),
], ids='-'.join)  # fmt: skip
def test_images_depend_on_their_own_key_alone(choice):
    guided = 1.0 if choice[1] == MEAN_FLOW else 2.0
    ddpm = method(*choice, **{'sample.guidance_scale': guided, 'sample.churn': 2.0 if choice[-1] == 'edm' else 0.0})
    variables = {'params': ddpm.init(KEY).params}
    keys, labels = jax.random.split(KEY, 4), jnp.arange(4)
    sample = jax.jit(ddpm.sample)
    together = sample(variables, keys, labels)
    apart = jnp.concatenate([sample(variables, keys[i : i + 2], labels[i : i + 2]) for i in (0, 2)])
    assert together.shape == (4, 8, 8, 1) and bool(jnp.all(jnp.isfinite(together)))
    np.testing.assert_allclose(together, apart, atol=2e-5)
    np.testing.assert_array_equal(together, sample(variables, keys, labels))
    # Two calls in a step, but one in the step to the data, and one in a step from pure noise.
    twice = {'flow': 6}.get(choice[0], 7) if choice[-1] in ('edm', 'heun') else 4
    assert ddpm.sampling_protocol()['network_calls'] == twice


def test_label_dropout_withholds_its_share_of_the_labels():
    ddpm = method('linear', 'eps', 'simple', 'fixed', 'ddim')
    labels = drop_labels(jnp.zeros(4000, jnp.int32), KEY, ddpm.label_dropout, ddpm.null_label)
    assert ddpm.null_label == 10 and abs(jnp.mean(labels == 10) - 0.25) < 0.03


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'diffusion.schedule': 'linear_zero_snr'}, 'config.diffusion.parameterisation=eps does not determine x_0'),
        ({'diffusion.schedule': 'edm'}, 'grows to 80 with diffusion.schedule=edm: choose edm'),
        ({'diffusion.parameterisation': 'flow'}, 'only diffusion.schedule=flow has'),
        ({'diffusion.parameterisation': 'vv'}, 'config.diffusion.parameterisation'),
        ({'diffusion.schedule': 'learned'}, 'choose diffusion.weighting=elbo'),
        ({'diffusion.variance': 'learned', 'diffusion.weighting': 'min_snr'}, 'hybrid loss'),
        ({'sample.sampler': 'mean_flow'}, 'a mean velocity is sampled by mean_flow only'),
        ({'sample.num_steps': 21}, 'config.sample.num_steps=21 must be at most diffusion.timesteps=20'),
        (
            {'sample.guidance_scale': 2.0},
            'config.sample.guidance_scale=2.0 needs a network that was trained with and without',
        ),
        (
            {'model.conditional': False, 'diffusion.label_dropout': 0.1},
            'needs a network that takes class labels: .*dropout=0 and sample.guidance_scale=1',
        ),
        ({'sample.eta': 1.5}, 'config.sample.eta=1.5 must be at most 1'),
    ],
)
def test_incompatible_combinations_are_refused_in_a_sentence(fields, words):
    with pytest.raises(UserError, match=words):
        validate(tiny_config(**fields))


def test_an_interval_without_a_level_is_refused():
    for low, high in ((0.0, None), (2.0, None), (0.5, 2.0)):
        validate(tiny_config(**{'sample.guidance_low': low, 'sample.guidance_high': high}))
    for low in (2.0, 3.0):
        with pytest.raises(UserError, match=f'config.sample.guidance_low={low} must be below .*guidance_high=2.0'):
            validate(tiny_config(**{'sample.guidance_low': low, 'sample.guidance_high': 2.0}))
