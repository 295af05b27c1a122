"""Properties of every denoiser in the registry; a network that is added there is tested, too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.apps.rules import validate
from jaxgen.apps.untrained import build_method
from jaxgen.errors import UserError
from jaxgen.models.networks import NETWORKS
from tests.helpers.networks import random_params
from tests.helpers.product_network import ProductNetwork
from tests.tiny import tiny_config

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X, T, LABELS = RNG.normal(size=(3, 8, 8, 1)).astype(np.float32), np.array([900.0, 500.0, 3.0]), np.array([0, 9, 4])


def family_of(name, **fields):
    common = {'model.name': name, 'model.num_blocks': 2, 'model.dropout': 0.0, 'optimizer.warmup_steps': 0}
    c = tiny_config(**{**common, **fields})
    validate(c)
    return build_method(c, (8, 8, 1), 10)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('name', NETWORKS)
def test_an_image_depends_on_itself_its_time_and_its_label(name, dtype):
    network = family_of(name, **{'model.dtype': dtype}).network
    params = random_params(network)

    @jax.jit
    def call(x, t, labels):
        return network.apply({'params': params}, x, t, labels)

    out = call(X, T, LABELS)
    assert out.shape == X.shape and out.dtype == jnp.float32
    np.testing.assert_array_equal(out, call(X, T, LABELS))
    others = call(X[::-1], T[::-1], LABELS[::-1])[::-1]
    tolerance = 1e-5 if dtype == 'float32' else 0.05  # for outputs of order 1
    np.testing.assert_allclose(out, others, atol=tolerance)
    for changed in (call(-X, T, LABELS), call(X, T[::-1], LABELS), call(X, T, LABELS[::-1])):
        assert np.abs(changed[0] - out[0]).max() > 0.01
    # The image in the middle keeps its time and its label.
    np.testing.assert_allclose(call(X, T[::-1], LABELS)[1], out[1], atol=tolerance)
    np.testing.assert_allclose(call(X, T, LABELS[::-1])[1], out[1], atol=tolerance)


@pytest.mark.parametrize('name', NETWORKS)
def test_a_step_moves_every_parameter(name):
    """The weights are random: a new network has layers at zero, and the layers before these get no gradient."""
    ddpm = family_of(name, **({} if name == 'mine' else {'diffusion.augment': 0.5}))
    model = jax.jit(ddpm.initial_state)(random_params(ddpm.network))
    batch = {'image': X, 'label': LABELS}
    after, metrics = jax.jit(ddpm.step)(model, batch, KEY)
    assert all(np.isfinite(x) for x in metrics.values()), metrics
    used = jax.tree.map(lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b))), model.params, after.params)
    assert all(jax.tree.leaves(used)), used


@pytest.mark.parametrize('name', NETWORKS)
def test_dropout_acts_only_in_training(name):
    network = family_of(name, **{'model.dropout': 0.5}).network
    params = random_params(network)

    @functools.partial(jax.jit, static_argnums=1)
    def run(key, train):
        return network.apply({'params': params}, X, T, LABELS, train=train, rngs={'dropout': jax.random.key(key)})

    np.testing.assert_array_equal(run(0, False), run(1, False))
    assert abs(run(0, True) - run(1, True)).max() > 0.01


@pytest.mark.parametrize('name', NETWORKS)
def test_networks_without_classes_ignore_labels(name):
    network = family_of(name, **{'model.conditional': False}).network
    assert network.num_classes == 0
    params = random_params(network)
    call = jax.jit(lambda labels: network.apply({'params': params}, X, T, labels))
    np.testing.assert_array_equal(call(LABELS), call(LABELS[::-1]))


@pytest.mark.parametrize('name', NETWORKS)
def test_zeros_describe_an_image_without_augmentation(name):
    """Samples pass no augmentation, so the augmentation of training does not leak into them."""
    network = family_of(name, **{'diffusion.augment': 0.12}).network
    params = random_params(network)
    conditions = RNG.normal(size=(3, 9)).astype(np.float32)

    @jax.jit
    def call(augment):
        return network.apply({'params': params}, X, T, LABELS, augment=augment)

    plain = network.clone(augment_dim=0)
    without = jax.jit(plain.apply)(
        {'params': {name: p for name, p in params.items() if name != 'augment'}}, X, T, LABELS
    )
    np.testing.assert_allclose(call(None), without, atol=1e-5)
    np.testing.assert_array_equal(call(np.zeros_like(conditions)), call(None))
    for i in range(9):
        one = np.where(np.arange(9) == i, conditions, 0)
        assert abs(call(one) - call(None)).max() > 1e-3


def test_a_new_network_needs_only_its_name(monkeypatch):
    monkeypatch.setitem(NETWORKS, 'mine', ProductNetwork)
    test_an_image_depends_on_itself_its_time_and_its_label('mine', 'float32')
    test_a_step_moves_every_parameter('mine')
    with pytest.raises(UserError, match='diffusion.augment=0.1 needs a network .* model.name=mine has no field'):
        family_of('mine', **{'diffusion.augment': 0.1})
