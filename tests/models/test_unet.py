"""The UNet against the paper's numbers; tests/apps/interop compares it with diffusers' UNet2DModel."""

import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional

from jaxgen.models.layers import timestep_embedding
from jaxgen.models.unet import UNet, fold, unfold
from tests.helpers.networks import equations, init, random_params, shapes

TINY = {
    'base_channels': 8,
    'channel_multipliers': (1,),
    'num_res_blocks': 1,
    'attention_resolutions': (),
    'norm_groups': 4,
}


def test_the_papers_parameter_count():
    params = shapes(UNet(), 32)
    assert sum(x.size for x in jax.tree.leaves(params)) == 35_746_307


def test_initialisation_is_the_papers():
    """Kernels are uniform with variance 1 / fan_avg, biases 0, norms 1; last layers of blocks and network have 1e-5 of that."""
    params = flax.traverse_util.flatten_dict(
        jax.device_get(init(UNet(base_channels=32, channel_multipliers=(1, 2), num_res_blocks=1), 32))
    )
    last = ('conv2', 'conv_out', 'out')
    seen = set()
    for path, x in params.items():
        if path[-1] == 'bias':
            assert not x.any()
        elif path[-1] == 'scale':
            assert (x == 1).all()
        else:
            fan_avg = np.prod(x.shape[:-2]) * (x.shape[-2] + x.shape[-1]) / 2
            scale = 1e-10 if path[-2] in last else 1.0
            np.testing.assert_allclose(x.std(), np.sqrt(scale / fan_avg), rtol=0.1)
            np.testing.assert_allclose(abs(x).max(), np.sqrt(3 * scale / fan_avg), rtol=0.02)  # uniform, not normal
            seen.add(path[-2])
    assert {*last, 'conv1', 'emb', 'query', 'key', 'value', 'time1', 'time2', 'conv_in', 'down0_sample'} <= seen


def test_timestep_embedding_is_the_papers():
    got = timestep_embedding(jnp.array([0, 5]), 4)
    np.testing.assert_allclose(got, [[0, 0, 1, 1], [np.sin(5), np.sin(5e-4), np.cos(5), np.cos(5e-4)]], atol=1e-6)
    other = timestep_embedding(jnp.array([5]), 4, freq_shift=0, flip_sin_to_cos=True)
    np.testing.assert_allclose(other, [[np.cos(5), np.cos(5e-2), np.sin(5), np.sin(5e-2)]], atol=1e-6)


@functools.cache
def tiny(**kwargs):
    network = UNet(dropout=0.0, **TINY, **kwargs)
    return network, random_params(network), jax.random.normal(jax.random.key(3), (2, 8, 8, 3))


def test_labels_and_timesteps_matter_only_for_their_own_example():
    network, params, x = tiny(num_classes=3)

    apply = jax.jit(network.apply)

    def run(t, labels):
        return apply({'params': params}, x, jnp.array(t), jnp.array(labels))

    start = run([5, 5], [0, 1])
    for other in (run([5, 500], [0, 1]), run([5, 5], [0, 2])):
        np.testing.assert_allclose(other[0], start[0], atol=1e-5)
        assert abs(other[1] - start[1]).max() > 0.01


def test_bfloat16_keeps_norms_softmax_and_parameters_in_float32():
    network, params, x = tiny(dtype=jnp.bfloat16)
    apply = functools.partial(jax.jit(network.apply), {'params': params})
    assert {p.dtype for p in jax.tree.leaves(shapes(network, 8))} == {jnp.dtype(jnp.float32)}
    out = apply(x, jnp.array([1, 2]))
    assert out.dtype == jnp.float32
    full = jax.jit(tiny()[0].apply)({'params': params}, x, jnp.array([1, 2]))
    assert 0 < abs(out - full).max() < 0.1 * abs(full).max()

    seen = {}
    equations(jax.make_jaxpr(apply)(x, jnp.array([1, 2])).jaxpr, seen)
    assert seen['rsqrt'] == {'float32'} and seen['exp'] == {'float32'}  # norms and softmax
    assert seen['conv_general_dilated'] == {'bfloat16'}


def test_patches_fold_and_unfold():
    x = jnp.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    y = fold(x, 2)
    assert y.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(y[0, 0, 0], x[0, :2, :2].reshape(-1))
    np.testing.assert_array_equal(unfold(y, 2), x)
    network, params, image = tiny(patch_size=2)
    out = jax.eval_shape(network.apply, {'params': params}, image, jnp.array([1, 2]))
    assert out.shape == image.shape


def test_pixel_channels_are_convolutions_on_single_pixels_around_the_patches():
    """Both ends of the network against PyTorch with the same weights, given what the network between them made."""
    network, params, x = tiny(patch_size=2, pixel_channels=6)
    out, state = network.apply({'params': params}, x, jnp.array([3, 700]), capture_intermediates=True)
    made = {name: values['__call__'][0] for name, values in state['intermediates'].items() if '__call__' in values}

    def conv(name, h):
        kernel, bias = (torch.from_numpy(np.array(params[name][part])) for part in ('kernel', 'bias'))
        return functional.conv2d(h, kernel.permute(3, 2, 0, 1), bias, padding=1)

    def channels_first(x):
        return torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)

    pixels = conv('pixels_in', channels_first(x))
    folded = functional.pixel_unshuffle(pixels, 2)  # PyTorch orders channels before places in the patch
    folded = folded.unflatten(1, (6, 4)).transpose(1, 2).flatten(1, 2)
    np.testing.assert_allclose(conv('conv_in', folded), channels_first(made['conv_in']), rtol=1e-4, atol=1e-4)

    h = conv('to_pixels', functional.silu(channels_first(made['norm_out'])))
    h = functional.pixel_shuffle(h.unflatten(1, (4, 6)).transpose(1, 2).flatten(1, 2), 2)
    h = functional.silu(conv('pixels_out', functional.silu(torch.cat([h, pixels], 1))))
    np.testing.assert_allclose(conv('conv_out', h), channels_first(out), rtol=1e-4, atol=1e-4)


def test_pixel_channels_add_the_parameters_of_their_convolutions():
    def count(**fields):
        return sum(p.size for p in jax.tree.leaves(shapes(UNet(**TINY, patch_size=2, **fields), 8)))

    width, wide = 6, 6 * 2**2
    added = (9 * 3 + 1) * width + (9 * 8 + 1) * wide + (9 * 2 * width + 1) * width + (9 * width + 1) * 3
    assert count(pixel_channels=width) - count() == added + 9 * 8 * (wide - 3 * 2**2) - (9 * 8 + 1) * 3 * 2**2
