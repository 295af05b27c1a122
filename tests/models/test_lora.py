"""Low-rank updates of parameters against the same updates added to the outputs of layers, and against linear algebra."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.errors import UserError
from jaxgen.models import lora
from jaxgen.models.cnn import CNN
from jaxgen.models.dit import DiT
from jaxgen.models.unet import UNet

KEY = jax.random.key(0)
INPUTS = np.random.default_rng(1).normal(size=(2, 8, 8, 1)).astype(np.float32), np.array([3.0, 7.0]), np.array([0, 2])
SMALL = {
    'unet': UNet(1, 8, (1,), 1, (), num_classes=4, norm_groups=4),
    'cnn': CNN(1, 8, 1, num_classes=4, norm_groups=4),
    'dit': DiT(1, 8, 1, 2, num_classes=4),
}
LAYERS = {  # numbers of attention, dense and convolutional layers
    'unet': (4, 2 + 5 + 2, 2 + 10),  # dense layers: two for the time, one in each block, two shortcuts on the way up
    'cnn': (0, 2 + 1, 2 + 2),
    'dit': (2, 2 + 5 + 1, 0),
}


def random_like(tree, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), tree)


def params_of(name):
    return random_like(jax.eval_shape(lambda: SMALL[name].init(KEY, *INPUTS)['params']), 2)


@pytest.mark.parametrize('name', SMALL)
def test_the_layers_of_each_kind(name):
    kinds = list(lora.layers(params_of(name)).values())
    assert tuple(kinds.count(kind) for kind in ('attention', 'dense', 'conv')) == LAYERS[name]
    assert kinds.count('label') == 1


@pytest.mark.parametrize('name', SMALL)
def test_it_starts_as_the_base_bit_for_bit(name):
    params = params_of(name)
    targets = tuple(dict.fromkeys(lora.layers(params).values()))
    for paths, rank in ((lora.matching(params, targets, ''), 3), (lora.flat(params), 0)):
        merged = jax.jit(lambda p, paths=paths, rank=rank: lora.merge(p, lora.init(KEY, p, paths, rank), 2.0))(params)
        jax.tree.map(np.testing.assert_array_equal, merged, params)


def separate_updates(factors, strength):
    """Add to the output of each adapted layer the product of its input with both factors, one after the other."""

    def intercept(call, args, kwargs, context):
        out, module = call(*args, **kwargs), context.module
        f = factors.get('/'.join((*module.path, 'kernel'))) if context.method_name == '__call__' else None
        if f is None:
            return out
        (x,) = args
        if isinstance(module, nn.Conv):
            down = f['a'].reshape(*module.kernel_size, x.shape[-1], -1)
            dimensions = 'NHWC', 'HWIO', 'NHWC'
            h = jax.lax.conv_general_dilated(x, down, (1, 1), 'SAME', dimension_numbers=dimensions)
        else:
            h = x @ f['a']
        return out + strength * (h @ f['b'])

    return nn.intercept_methods(intercept)


@pytest.mark.parametrize(('name', 'kinds'), [('dit', ('attention', 'dense')), ('cnn', ('dense', 'conv'))])
def test_merged_and_separate_updates_agree(name, kinds):
    network, params = SMALL[name], params_of(name)
    factors = random_like(lora.init(KEY, params, lora.matching(params, kinds, ''), 3), 4)

    @jax.jit
    def outputs():
        plain = network.apply({'params': params}, *INPUTS)
        merged = network.apply({'params': lora.merge(params, factors, 0.5)}, *INPUTS)
        with separate_updates(factors, 0.5):
            return plain, merged, network.apply({'params': params}, *INPUTS)

    plain, merged, adapted = outputs()
    assert abs(merged - plain).max() > 0.1 * abs(plain).max()
    np.testing.assert_allclose(merged, adapted, rtol=0, atol=2e-5 * float(abs(adapted).max()))


@pytest.mark.parametrize('shape', [(5, 7), (3, 3, 2, 6)])
def test_at_full_rank_it_can_be_any_update(shape):
    """Singular vectors of full rank give the update itself; with one rank less they give its best approximation."""
    rng = np.random.default_rng(0)
    w, update = rng.normal(size=(2, *shape)).astype(np.float32)
    matrix = update.reshape(-1, shape[-1])
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    params = {'layer': {'kernel': w}}
    factors = lora.init(KEY, params, ['layer/kernel'], 1000)
    shapes = jax.tree.map(np.shape, factors['layer/kernel'])
    assert shapes == {'a': (len(matrix), len(s)), 'b': (len(s), shape[-1])}
    merged = lora.merge(params, {'layer/kernel': {'a': u * s / 4, 'b': v}}, 4.0)['layer']['kernel']
    np.testing.assert_allclose(merged, w + update, atol=1e-5)
    less = lora.merge(params, {'layer/kernel': {'a': u[:, :-1] * s[:-1], 'b': v[:-1]}}, 1.0)['layer']['kernel']
    np.testing.assert_allclose(np.linalg.norm(less - w - update), s[-1], rtol=1e-3)


def test_scale_is_linear_and_its_negative_gives_the_base_back():
    params = params_of('cnn')
    before = jax.tree.map(np.copy, params)
    factors = random_like(lora.init(KEY, params, lora.layers(params), 2), 5)
    assert 'delta' in factors['label/embedding'] and 'a' in factors['conv_in/kernel']
    none, half, whole = (lora.merge(params, factors, 1.5, scale) for scale in (0.0, 0.5, 1.0))
    jax.tree.map(np.testing.assert_array_equal, none, params)
    jax.tree.map(lambda p, h, w: np.testing.assert_allclose(h, (p + w) / 2, atol=1e-6), params, half, whole)
    for path, back in lora.flat(lora.merge(whole, factors, 1.5, -1.0)).items():
        w, there = lora.flat(params)[path], lora.flat(whole)[path]
        assert np.all(abs(back - w) <= 2.0**-22 * np.maximum(abs(w), abs(there - w))), path
    jax.tree.map(np.testing.assert_array_equal, params, before)


def test_targets_by_name_and_what_does_not_exist():
    params = params_of('unet')
    assert lora.matching(params, ['middle_0/conv1'], '') == ('middle_0/conv1/kernel',)
    assert lora.matching(params, ['down0_0'], '') == tuple(
        f'down0_0/{layer}/kernel' for layer in ('conv1', 'conv2', 'emb')
    )
    with pytest.raises(UserError, match="targets: .* 'midle_0' does not exist; did you mean middle_0"):
        lora.matching(params, ['midle_0'], 'config.finetune.targets')
    with pytest.raises(UserError, match="layer 'attention' does not exist"):
        lora.matching(params_of('cnn'), ['attention'], 'config.finetune.targets')


@pytest.mark.parametrize('shape', [(200, 64), (3, 3, 16, 32)])
def test_a_starts_as_in_the_reference(shape):
    """kaiming_uniform_(a=sqrt(5)) of microsoft/LoRA and peft: uniform within 1 / sqrt(inputs), deviation 1 / sqrt(3 inputs)."""
    factors = lora.init(KEY, {'layer': {'kernel': jnp.zeros(shape)}}, ['layer/kernel'], 16)['layer/kernel']
    inputs = np.prod(shape[:-1])
    assert factors['a'].shape == (inputs, 16) and not factors['b'].any()
    places = (np.asarray(factors['a'], np.float64).ravel() * np.sqrt(inputs) + 1) / 2
    assert 0 <= places.min() < 0.01 and 0.99 < places.max() <= 1
    np.testing.assert_allclose(np.std(factors['a']), 1 / np.sqrt(3 * inputs), rtol=0.03)
    assert stats.kstest(places, 'uniform').pvalue > 1e-3


def test_gradients_of_the_factors():
    """At the start B is zero, so the gradient of A is zero, and that of B is A^T times that of the kernel times alpha / r."""
    w, x = jax.random.normal(KEY, (2, 6, 6))
    params = {'layer': {'kernel': w}}
    factors = lora.init(KEY, params, ['layer/kernel'], 2)

    def loss(kernel):
        return jnp.sum(jnp.sin(x @ kernel))

    got = jax.grad(lambda f: loss(lora.merge(params, f, 3.0)['layer']['kernel']))(factors)['layer/kernel']
    assert not got['a'].any()
    expected = 3 * factors['layer/kernel']['a'].T @ jax.grad(loss)(w)
    np.testing.assert_allclose(got['b'], expected, atol=1e-5)
