"""Our UNet against diffusers' with the same random weights, and the two descriptions of a network against each other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import UNet2DModel

from jaxgen.apps.interop import unet, unet_config
from jaxgen.apps.untrained import build_method
from jaxgen.errors import UserError
from tests.helpers.diffusers_folders import LIKE_CIFAR, command, torch_images, unet2d

ATTENTION, PLAIN = ('AttnDownBlock2D', 'AttnUpBlock2D'), ('DownBlock2D', 'UpBlock2D')


def blocks(*attended):
    """Return the block types of levels with and without attention."""
    down, up = zip(*(ATTENTION if a else PLAIN for a in attended), strict=True)
    return {'down_block_types': down, 'up_block_types': up[::-1]}


THE_DEFAULTS = {'norm_eps': 1e-5, 'freq_shift': 0, 'flip_sin_to_cos': True, 'downsample_padding': 1}
NETWORKS = {
    'like CIFAR-10, three levels': {
        'block_out_channels': (8, 16, 16), 'layers_per_block': 2, **blocks(False, True, False),
    },
    "diffusers' defaults": {'block_out_channels': (8, 16), 'attention_head_dim': 8, **THE_DEFAULTS},
    'classes': {'in_channels': 3, 'out_channels': 3, 'num_class_embeds': 10},
    'classes and defaults': {'num_class_embeds': 10, 'attention_head_dim': 4, **THE_DEFAULTS},
    'attention everywhere, heads by width': {
        'block_out_channels': (8, 16, 32), 'attention_head_dim': 4, 'norm_num_groups': 8, **blocks(True, True, True),
    },
    'attention in the middle alone': {'block_out_channels': (8, 24), 'norm_num_groups': 2, **blocks(False, False)},
    'one level': {'block_out_channels': (12,), 'layers_per_block': 3, **blocks(True), 'norm_eps': 1e-2},
    'a large epsilon and padding': {'norm_eps': 0.1, 'downsample_padding': 1, 'freq_shift': 3, **blocks(True, False)},
}  # fmt: skip


def ours(theirs, channels=1):
    """Return the config of our network, and the network."""
    c = command()
    fields = unet_config.to_model(theirs.config, c.model, 8, 'config.json')
    c = c.replace({'model': dataclasses.replace(c.model, **fields)})
    return c, build_method(c, (8, 8, channels), 10).network


@pytest.mark.parametrize('fields', NETWORKS.values(), ids=NETWORKS)
def test_agrees_with_diffusers(fields):
    theirs = unet2d(**fields)
    channels = theirs.config.in_channels
    c, network = ours(theirs, channels)
    params = unet.from_diffusers({k: v.numpy() for k, v in theirs.state_dict().items()}, network, 8)
    x = jax.random.normal(jax.random.key(2), (3, 8, 8, channels))
    t, labels = np.array([0, 17, 999]), np.array([0, 3, 9])
    with torch.no_grad():
        given = {'class_labels': torch.from_numpy(labels)} if c.model.conditional else {}
        expected = theirs(torch_images(x), torch.from_numpy(t), **given).sample.numpy().transpose(0, 2, 3, 1)
    got = jax.jit(network.apply)({'params': params}, x, jnp.asarray(t), jnp.asarray(labels))
    assert expected.std() > 0.1
    np.testing.assert_allclose(got, expected, atol=1e-4 * max(1, abs(expected).max()))


@pytest.mark.parametrize('fields', NETWORKS.values(), ids=NETWORKS)
def test_weights_and_description_come_back(fields):
    """Every tensor and every field of the description come back unchanged."""
    theirs = unet2d(**fields)
    c, network = ours(theirs, theirs.config.in_channels)
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    params = unet.from_diffusers(state, network, 8)
    back = unet.to_diffusers(params, network)
    assert back.keys() == state.keys()
    for name, x in back.items():
        assert x.dtype == np.float32 and x.flags.c_contiguous
        np.testing.assert_array_equal(x, state[name])
    again = unet.from_diffusers(back, network, 8)
    assert jax.tree.all(jax.tree.map(np.array_equal, again, params))

    description = unet_config.from_model(c.model, 8, theirs.config.in_channels, 10)
    rebuilt = UNet2DModel(**{k: v for k, v in description.items() if not k.startswith('_')})
    for name, value in theirs.config.items():
        if not name.startswith('_') and name not in ('dropout', 'num_train_timesteps'):
            assert np.array_equal(rebuilt.config[name], value), name


def test_no_two_parameters_have_the_same_name():
    """This is checked for the network of google/ddpm-cifar10-32, without computing it."""
    sizes = {'base_channels': 128, 'channel_multipliers': (1, 2, 2, 2), 'num_res_blocks': 2, 'norm_groups': 32}
    c = command(**{f'model.{name}': value for name, value in sizes.items()}, **{'model.attention_resolutions': (16,)})
    network = build_method(c, (32, 32, 3), 10).network
    shapes = jax.tree.map(lambda s: np.empty(s.shape, np.bool_), unet.parameter_shapes(network, 32))
    with torch.device('meta'):
        theirs = UNet2DModel(
            **LIKE_CIFAR
            | {'sample_size': 32, 'in_channels': 3, 'out_channels': 3, 'block_out_channels': (128, 256, 256, 256)}
            | {'layers_per_block': 2, 'norm_num_groups': 32}
            | blocks(False, True, False, False)
        ).state_dict()
    assert {k: x.shape for k, x in unet.to_diffusers(shapes, network).items()} == {
        k: v.shape for k, v in theirs.items()
    }
    assert sum(v.numel() for v in theirs.values()) == 35_746_307


def test_the_old_names_of_attention_are_read():
    theirs = unet2d()
    _, network = ours(theirs)
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    older = {}
    for name, x in state.items():
        for new, old in (('to_q', 'query'), ('to_k', 'key'), ('to_v', 'value'), ('to_out.0', 'proj_attn')):
            name = name.replace(f'.{new}.', f'.{old}.')
        older[name] = x
    assert len(older.keys() - state.keys()) == 8 * 4  # of four attentions, weight and bias of each
    expected = unet.from_diffusers(state, network, 8)
    assert jax.tree.all(jax.tree.map(np.array_equal, unet.from_diffusers(older, network, 8), expected))


def test_equivalent_fields_keep_the_values_of_the_config():
    asked = {
        'model.attention_resolutions': (4, 7),
        'model.num_heads': 2,
        'model.dropout': 0.3,
        'model.dtype': 'bfloat16',
    }
    model = command(**asked).model
    description = {**LIKE_CIFAR, 'attention_head_dim': 8}  # attention has 16 channels wherever it is
    assert dataclasses.replace(model, **unet_config.to_model(description, model, 8, '')) == model
    other = unet_config.to_model({**description, 'attention_head_dim': 4}, model, 8, '')
    assert other['attention_head_dim'] == 4 and other['attention_resolutions'] == (4, 7)
    wider = unet_config.to_model({**LIKE_CIFAR, **blocks(True, True)}, model, 8, '')
    assert wider['attention_resolutions'] == (8, 4) and (wider['num_heads'], wider['attention_head_dim']) == (1, None)


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('act_fn', 'mish'),
        ('resnet_time_scale_shift', 'scale_shift'),
        ('downsample_type', 'resnet'),
        ('upsample_type', 'resnet'),
        ('downsample_padding', 2),
        ('time_embedding_type', 'fourier'),
        ('time_embedding_dim', 48),
        ('add_attention', False),
        ('mid_block_type', None),
        ('mid_block_scale_factor', 1.5),
        ('center_input_sample', True),
        ('class_embed_type', 'timestep'),
        ('out_channels', 2),
        ('attn_norm_num_groups', 2),
        ('norm_num_groups', None),
        ('attention_head_dim', 0),
        ('block_out_channels', (8, 12)),
        ('block_out_channels', 8),
        ('down_block_types', ('DownBlock2D', 'SkipDownBlock2D')),
        ('down_block_types', ('DownBlock2D',)),
        ('up_block_types', ('UpBlock2D', 'AttnUpBlock2D')),
        ('layers_per_block', 'two'),
    ],
)
def test_fields_that_our_unet_lacks_are_refused_by_name(field, value):
    c = command()
    with pytest.raises(UserError, match=f'^here/config.json: .*{field}'):
        unet_config.to_model({**LIKE_CIFAR, field: value}, c.model, 8, 'here/config.json')


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'model.patch_size': 2}, 'config.model.patch_size=2 cannot be exported'),
        ({'model.channel_multipliers': (2, 2)}, r'config.model.channel_multipliers=\(2, 2\) cannot be exported'),
        (
            {'model.num_heads': 2, 'model.attention_resolutions': (8, 4)},
            'config.model.num_heads=2 cannot be exported: .* config.model.attention_head_dim',
        ),
    ],
)
def test_fields_that_diffusers_lacks_are_refused_by_name(fields, words):
    with pytest.raises(UserError, match=words):
        unet_config.from_model(command(**fields).model, 8, 1, 10)


def test_missing_and_unknown_tensors_are_named():
    theirs = unet2d()
    _, network = ours(theirs)
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}

    def refused(words, **changes):
        with pytest.raises(UserError, match=words):
            unet.from_diffusers({k: v for k, v in {**state, **changes}.items() if v is not None}, network, 8, 'a.bin')

    refused(r'^a.bin: conv_in.bias is missing$', **{'conv_in.bias': None})
    refused(
        r'^a.bin: \S+ is missing \(and 1 more\)$', **{'conv_in.bias': None, 'mid_block.attentions.0.to_q.bias': None}
    )
    refused(
        r'^a.bin: conv_in.bias is 3, where the network that is described has 8$', **{'conv_in.bias': np.zeros(3, 'f')}
    )
    refused(r'^a.bin: extra.weight belongs to no layer', **{'extra.weight': np.zeros(3, 'f')})
