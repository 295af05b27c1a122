"""The transformer against diffusers' ``DiTTransformer2DModel`` with the same random weights, and the paper's numbers."""

import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DiTTransformer2DModel
from diffusers.models.embeddings import get_2d_sincos_pos_embed

from jaxgen.models.dit import DiT, position_embedding
from tests.helpers.networks import equations, init, random_params

TINY = {'base_channels': 16, 'num_blocks': 2, 'num_heads': 2}
T = np.array([1, 700])


@functools.cache
def tiny(**kwargs):
    network = DiT(**{**TINY, **kwargs})
    return network, random_params(network), np.random.default_rng(3).normal(size=(2, 4, 6, 3)).astype(np.float32)


def test_the_papers_parameter_count():
    """The paper counts DiT-XL/2 on latents [32, 32, 4], which also predicts a variance; its fixed positions do not count."""
    network = DiT(8, base_channels=1152, num_blocks=28, num_heads=16, num_classes=1001)
    image, zero = jnp.zeros((1, 32, 32, 4)), jnp.zeros(1, jnp.int32)
    out, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), image, zero, zero)
    assert out.shape == (1, 32, 32, 8)
    assert sum(x.size for x in jax.tree.leaves(variables)) == 675_129_632 - 16 * 16 * 1152


def parameters(channels, width, blocks, classes, ratio, patch):
    """Count the parameters of linear layers with biases: inputs times outputs plus outputs."""
    ends = patch**2 * channels * (2 * width + 1) + width + 2 * width**2 + 2 * width
    block = (6 + 3 + 1 + 2 * ratio) * width**2 + (6 + 3 + 1 + ratio + 1) * width
    embedding = (256 + 1) * width + (width + 1) * width + classes * width
    return ends + blocks * block + embedding


@pytest.mark.parametrize(
    ('network', 'count'),
    [
        (DiT(), parameters(3, 384, 12, 0, 4, 2)),
        (DiT(1, 64, 3, 4, mlp_ratio=2, num_classes=10, patch_size=1), parameters(1, 64, 3, 10, 2, 1)),
    ],
)
def test_the_number_of_parameters(network, count):
    params = jax.eval_shape(functools.partial(init, network, 8))
    assert sum(x.size for x in jax.tree.leaves(params)) == count


class Sinusoids(torch.nn.Module):
    """The paper's time embedding in float64; that of diffusers is in float32."""

    def __init__(self, freq_shift, flip_sin_to_cos):
        super().__init__()
        self.frequencies = 10000.0 ** -(torch.arange(128, dtype=torch.float64) / (128 - freq_shift))
        self.waves = (torch.cos, torch.sin) if flip_sin_to_cos else (torch.sin, torch.cos)

    def forward(self, t):
        return torch.cat([wave(t[:, None] * self.frequencies) for wave in self.waves], 1)


def reference(network, params, side, channels):
    """Return diffusers' network in float64. It embeds time and label in every block, and has an additional class for no label."""
    heads, width, patch = network.num_heads, network.base_channels, network.patch_size
    theirs = DiTTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=width // heads,
        in_channels=channels,
        num_layers=network.num_blocks,
        sample_size=side,
        patch_size=patch,
        num_embeds_ada_norm=network.num_classes or 1,
        norm_eps=1e-6,
    )
    params = jax.tree.map(torch.from_numpy, params)
    labels = params['label']['embedding'] if network.num_classes else torch.zeros(1, width)
    state = {}

    def layer(name, kernel, bias):
        state.update({f'{name}.weight': kernel.T, f'{name}.bias': bias})

    layer('pos_embed.proj', **params['patches'])
    state['pos_embed.proj.weight'] = state['pos_embed.proj.weight'].reshape(width, patch, patch, -1).permute(0, 3, 1, 2)
    layer('proj_out_1', **params['modulation'])
    layer('proj_out_2', **params['out'])
    for i in range(network.num_blocks):
        ours, name = params[f'block{i}'], f'transformer_blocks.{i}'
        layer(f'{name}.norm1.emb.timestep_embedder.linear_1', **params['time1'])
        layer(f'{name}.norm1.emb.timestep_embedder.linear_2', **params['time2'])
        state[f'{name}.norm1.emb.class_embedder.embedding_table.weight'] = torch.cat([labels, torch.zeros(1, width)])
        layer(f'{name}.norm1.linear', **ours['modulation'])
        for j, part in enumerate('qkv'):
            layer(f'{name}.attn1.to_{part}', *(ours['qkv'][kind].split(width, -1)[j] for kind in ('kernel', 'bias')))
        layer(f'{name}.attn1.to_out.0', **ours['out'])
        layer(f'{name}.ff.net.0.proj', **ours['mlp1'])
        layer(f'{name}.ff.net.2', **ours['mlp2'])
    theirs.double().eval().load_state_dict(state)
    for block in theirs.transformer_blocks:
        block.norm1.emb.time_proj = Sinusoids(network.freq_shift, network.flip_sin_to_cos)
    theirs.pos_embed.pos_embed = get_2d_sincos_pos_embed(width, side // patch, base_size=side // patch)[None]
    return theirs


@pytest.mark.parametrize(
    ('fields', 'channels'),
    [
        ({'num_classes': 3}, 3),
        ({'freq_shift': 1, 'flip_sin_to_cos': False, 'patch_size': 1, 'num_blocks': 3, 'num_heads': 4}, 1),
        ({'num_classes': 3, 'freq_shift': 1, 'num_heads': 1, 'patch_size': 4, 'num_blocks': 1}, 2),
    ],
)
def test_agrees_with_diffusers(fields, channels):
    rng = np.random.default_rng(0)
    x, t, labels = rng.normal(size=(3, 8, 8, channels)), np.array([0, 17, 999]), np.array([0, 2, 1])
    with jax.enable_x64(True):
        network = DiT(channels, **{**TINY, **fields}, dtype=jnp.float64, param_dtype=jnp.float64)
        params = random_params(network)
        got = np.asarray(jax.jit(network.apply)({'params': params}, x, t, labels))
    given = torch.from_numpy(labels if network.num_classes else np.zeros_like(labels))
    with torch.no_grad():
        theirs = reference(network, params, 8, channels)
        expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), torch.from_numpy(t), given).sample
    assert got.dtype == np.float64 and expected.std() > 0.1
    np.testing.assert_allclose(got, expected.numpy().transpose(0, 2, 3, 1), atol=1e-9)


def test_positions_are_the_papers():
    expected = get_2d_sincos_pos_embed(12, 7, base_size=7).reshape(7, 7, 12)
    np.testing.assert_allclose(position_embedding(7, 7, 12), expected, atol=1e-6)
    np.testing.assert_allclose(position_embedding(3, 5, 12), expected[:3, :5], atol=1e-6)


def test_initialisation_is_the_papers():
    """Kernels are uniform with variance 1 / fan_avg, biases 0; the layers of shifts, scales, gates and the output are 0."""
    network, _, x = tiny(base_channels=32, num_blocks=1, num_classes=30)
    fresh = jax.device_get(init(network, 8))
    zero = set()
    for path, p in flax.traverse_util.flatten_dict(fresh).items():
        if path[-1] == 'bias' or path[-2] == 'modulation' or path == ('out', 'kernel'):
            assert not p.any()
            zero.add(path[0])
        elif path[-1] == 'embedding':
            np.testing.assert_allclose(p.std(), 32**-0.5, rtol=0.1)
        else:
            bound = np.sqrt(6 / sum(p.shape))
            np.testing.assert_allclose([p.std(), abs(p).max()], [bound / np.sqrt(3), bound], rtol=0.1)
    assert zero == {'time1', 'time2', 'patches', 'block0', 'modulation', 'out'}
    assert not jax.jit(network.apply)({'params': fresh}, x, T, T % 30).any()


def test_with_closed_gates_patches_are_independent():
    """The image is not square. With open gates, each patch depends on every pixel."""
    network, params, x = tiny()
    closed = {**params}
    for name in ('block0', 'block1'):
        closed[name] = {**params[name], 'modulation': jax.tree.map(np.zeros_like, params[name]['modulation'])}

    @jax.jit
    def gradient(params):
        return jax.grad(lambda x: network.apply({'params': params}, x, T)[1, 2, 5, 0])(x)

    seen = np.zeros(x.shape, bool)
    seen[1, 2:4, 4:6] = True
    np.testing.assert_array_equal(np.asarray(gradient(closed)) != 0, seen)
    seen[1] = True
    np.testing.assert_array_equal(np.asarray(gradient(params)) != 0, seen)


def test_bfloat16_keeps_norms_softmax_and_parameters_in_float32():
    network, params, x = tiny(dtype=jnp.bfloat16)
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    apply = functools.partial(jax.jit(network.apply), {'params': params})
    out, full = apply(x, T), jax.jit(tiny()[0].apply)({'params': params}, x, T)
    assert out.dtype == jnp.float32
    assert 0 < abs(out - full).max() < 0.1 * abs(full).max()

    seen = {}
    equations(jax.make_jaxpr(apply)(x, T).jaxpr, seen)
    assert seen['rsqrt'] == {'float32'} and seen['exp'] == {'float32'}  # norms and softmax
    assert seen['dot_general'] == {'bfloat16'}
