"""The PyTorch twins train like jaxgen: the same losses and weights over several steps, from random weights."""

import json

import jax
import numpy as np
import pytest
import torch

from jaxgen.apps.benchmark import torch_side
from jaxgen.apps.benchmark.benchmark import require_twin
from jaxgen.apps.benchmark.describe import (
    COUNTERPARTS,
    describe,
    randomised,
    sampling_flops,
    training_flops,
    without_dropout,
)
from jaxgen.apps.interop import dcgan, unet
from jaxgen.apps.twins import TWINS, Execution
from jaxgen.apps.untrained import build
from jaxgen.runtime.random import root_key, stream
from tests.tiny import UNET, tiny_config

STEPS = 4
TOLERANCE = 5e-4  # a twentieth of one of Adam's steps, which magnify the rounding of small gradients
# A bias of all keys does not change attention, so its gradient is rounding noise, from which Adam makes full steps.
WITHOUT_GRADIENT = ('to_k.bias',)


def config_of(family):
    if family == 'dcgan':
        fields = {'optimizer.learning_rate': 0.01, 'gan.discriminator_learning_rate': 0.003}
        return tiny_config('dcgan', **{'model.conditional': False, **fields})
    return tiny_config(
        **{
            **UNET,
            'model.channel_multipliers': (1, 2),
            'model.attention_resolutions': (4,),
            'optimizer.learning_rate': 0.01,
            'optimizer.grad_clip_norm': 0.1,
            'model.dropout': 0.5,
        }
    )


def exported(method, name, model):
    """Return state dicts of the trained networks and of the average in PyTorch's format."""
    if name == 'ddpm':
        return {
            k: unet.to_diffusers(jax.device_get(p), method.network)
            for k, p in (('unet', model.params), ('average', model.ema))
        }
    players = {'generator': ('up', model.generator), 'discriminator': ('down', model.discriminator)}
    found = {
        k: dcgan.to_tutorial(jax.device_get({'params': p.params, **p.stats}), kind) for k, (kind, p) in players.items()
    }
    ema = {'params': model.ema, **model.generator.stats}
    return found | {'average': dcgan.to_tutorial(jax.device_get(ema), 'up')}


@pytest.fixture(scope='module', params=['ddpm', 'dcgan'])
def described(request, tmp_path_factory):
    """Return a config, the folder from which its twin is built, and the facts."""
    folder = tmp_path_factory.mktemp(request.param)
    config = config_of(request.param)
    return config, folder, describe(config, folder)


def twin_of(described, execution=None):
    config, folder, _ = described
    twin = TWINS[config.method](folder, json.loads(json.dumps(config.to_tree())), execution or Execution())
    with np.load(folder / 'example.npz') as example:
        return twin, {name: example[name] for name in example}


def test_several_steps_equal_those_of_jaxgen(described):
    config, _, facts = described
    twin, example = twin_of(described)
    twin.without_dropout()
    assert twin.parameters() == facts['parameters']
    method, key = without_dropout(config), root_key(config.seed, config.train.prng)
    model = randomised(jax.jit(method.init)(stream(key, 'init')))
    batch = {name: example[name] for name in ('image', 'label')}
    step = jax.jit(method.step)
    for i in range(STEPS):
        key_of_step = jax.random.fold_in(key, i) if i else key
        drawn = jax.device_get(COUNTERPARTS[config.method].random_inputs(method, key_of_step))
        model, metrics = step(model, batch, key_of_step)
        losses = twin.step(**torch_side.from_example({**batch, **drawn}, Execution()))
        for name, loss in losses.items():
            np.testing.assert_allclose(loss, metrics[name], rtol=1e-4)
            assert i or facts['losses'][name] == pytest.approx(float(loss), rel=1e-5)

    ours = exported(method, config.method, model)
    average = ours.pop('average')
    for network, state in ours.items():
        theirs = twin.networks[network].state_dict()
        assert set(state) <= set(theirs)
        for name, x in state.items():
            if not name.endswith(WITHOUT_GRADIENT):
                np.testing.assert_allclose(x, theirs[name], atol=TOLERANCE, err_msg=name)
    first = next(iter(twin.networks.values()))
    for (name, _), x in zip(first.named_parameters(), twin.average.params, strict=True):
        if not name.endswith(WITHOUT_GRADIENT):
            np.testing.assert_allclose(average[name], x, atol=TOLERANCE, err_msg=name)


def test_the_cases_of_the_twin_do_their_units(described):
    config, folder, facts = described
    stored = json.loads(json.dumps(config.to_tree()))
    spec = {'folder': str(folder), 'image_shape': (8, 8, 1), 'num_classes': 10, 'precision': 'float32'}
    require_twin(torch_side.check(stored, spec, Execution()), facts, 'highest')
    for case in ('train', 'sample'):
        subject = torch_side.CASES[case](stored, spec, Execution())
        subject.run(2)
        assert subject.facts['images'] == 16


def test_no_weight_is_as_it_was_initialised(described):
    twin, _ = twin_of(described)
    for network in twin.networks.values():
        assert all(p.numel() == 1 or (p != p.flatten()[0]).any() for p in network.parameters())


@pytest.mark.parametrize('execution', [Execution(channels_last=True), Execution(bfloat16=True)])
def test_other_executions_compute_the_same(described, execution):
    twin, example = twin_of(described, execution)
    twin.without_dropout()
    losses = twin.step(**torch_side.from_example(example, execution))
    for name, loss in losses.items():
        assert float(loss) == pytest.approx(described[2]['losses'][name], rel=0.05 if execution.bfloat16 else 1e-4)
    images = twin.sample(3, torch.zeros(3, dtype=torch.long))
    assert images.shape == (3, 1, 8, 8) and torch.isfinite(images).all()


def test_dropout_is_on_in_training(described):
    if described[0].method != 'ddpm':
        pytest.skip('DCGAN has none')
    losses = set()
    for _ in range(2):
        twin, example = twin_of(described)
        losses.add(float(twin.step(**torch_side.from_example(example, Execution()))['loss']))
    assert len(losses | {described[2]['losses']['loss']}) == 3


def test_a_missing_counterpart_is_explained(tmp_path):
    config = tiny_config('dcgan', **{'model.spectral_norm': True, 'model.conditional': False})
    facts = describe(config, tmp_path)
    assert 'config.model.spectral_norm=True' in facts['no_twin'] and 'losses' not in facts


def test_flops_are_those_of_a_step_and_of_a_sample():
    config = tiny_config()
    method, _ = build(config)
    once = training_flops(config, method), sampling_flops(config)
    config = config.replace({'sample.num_steps': 8, 'data.batch_size': 32})
    assert sampling_flops(config) == pytest.approx(2 * once[1], rel=1e-6)
    assert training_flops(config, method) == pytest.approx(once[0], rel=0.05)
    sizes = jax.eval_shape(method.init, root_key(config.seed, config.train.prng)).params
    assert once[0] > 6 * sum(
        x.size for x in jax.tree.leaves(sizes)
    )  # one product for each parameter, and two for its gradients
