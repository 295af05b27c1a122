"""DINOv2 against transformers with the same random weights, PIL's resize, PyTorch's interpolation, and files of weights."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from jaxgen.errors import UserError
from jaxgen.io import published
from jaxgen.models.published import dinov2, dinov2_weights
from jaxgen.models.published.dinov2 import DINOv2, position_weights, preprocess
from jaxgen.models.published.dinov2_weights import dinov2_variables, read_variables
from jaxgen.models.published.pil_resize import bicubic_resize
from tests.helpers import dinov2 as random_dinov2

RNG = np.random.default_rng(0)
COMPARED = DINOv2(features=48, num_blocks=3, num_heads=4, grid=5, position_offset=0.0)


def reference(network, device=None):
    """Return the same network of ``transformers``, with its own initial weights."""
    transformers = pytest.importorskip('transformers')
    config = transformers.Dinov2Config(
        hidden_size=network.features,
        num_hidden_layers=network.num_blocks,
        num_attention_heads=network.num_heads,
        mlp_ratio=network.mlp_ratio,
        image_size=network.grid * network.patch_size,
        patch_size=network.patch_size,
    )
    with torch.device(device or 'cpu'):
        return transformers.Dinov2Model(config).eval()


@pytest.fixture(scope='module')
def compared(tmp_path_factory):
    """The network of ``transformers`` with random weights, and the variables that are read from its file."""
    torch.manual_seed(0)
    theirs = reference(COMPARED)
    for name, parameter in theirs.named_parameters():
        is_scale = 'norm' in name and name.endswith('weight') or 'lambda' in name
        torch.nn.init.normal_(parameter, 1.0 if is_scale else 0.0, 0.2)
    folder = tmp_path_factory.mktemp('dinov2')
    theirs.save_pretrained(folder)
    return theirs, read_variables(folder / 'model.safetensors', COMPARED)[0]


# The number of patches of the training; fewer and more patches; patches that do not form a square.
@pytest.mark.parametrize('shape', [(70, 70), (42, 42), (112, 112), (56, 98)], ids=str)
def test_features_are_those_of_transformers(compared, shape):
    theirs, variables = compared
    x = RNG.normal(size=(2, *shape, 3)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).pooler_output.numpy()
    found = jax.jit(COMPARED.apply)(variables, x)
    assert abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, atol=1e-4 * abs(expected).max())


@pytest.mark.parametrize('size', dinov2.SIZES)
def test_published_sizes_have_the_parameters_of_transformers(size):
    """The mask token is used only in training, and the linen network does not have it."""
    network = dinov2_weights.network_of(size)
    image = np.zeros((1, 224, 224, 3), np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), image)
    count = sum(x.size for x in jax.tree.leaves(shapes))
    theirs = reference(network, 'meta')
    assert count == sum(p.numel() for p in theirs.parameters()) - network.features
    assert count + network.features == {'base': 86_580_480, 'large': 304_368_640}[size]


def test_all_products_run_at_the_highest_precision():
    """The lowered program states the precision; the default precision is lower on TPUs and GPUs."""
    network = random_dinov2.TINY
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), image)
    program = jax.jit(network.apply).lower(shapes, image).as_text()
    products = [line for line in program.splitlines() if 'stablehlo.convolution' in line or 'dot_general' in line]
    assert len(products) == 1 + 2 + 6 * network.num_blocks  # patches, positions, and four layers and attention a block
    for line in products:
        assert line.count('HIGHEST') == 2, line


@pytest.mark.parametrize(('size', 'new_size'), [(37, 16), (5, 9), (5, 3), (6, 6)])
@pytest.mark.parametrize('offset', [0.0, 0.1])
def test_positions_are_resized_as_by_pytorch(size, new_size, offset):
    """Without an offset PyTorch takes the size of the result; with an offset it takes a factor, as in the authors' code."""
    embeddings = torch.from_numpy(RNG.normal(size=(1, 3, size, size)))
    how = {'scale_factor': (new_size + offset) / size} if offset else {'size': (new_size, new_size)}
    expected = torch.nn.functional.interpolate(embeddings, mode='bicubic', align_corners=False, **how)
    weights = position_weights(size, new_size, offset)
    found = np.einsum('ai,bj,ncij->ncab', weights, weights, embeddings.numpy())
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_published_networks_take_the_offset_of_the_authors():
    assert {dinov2_weights.network_of(size).position_offset for size in dinov2.SIZES} == {0.1}


SHAPES = [(1, 1), (8, 8), (32, 32), (64, 48), (224, 224), (224, 60), (256, 256), (300, 500), (17, 777)]


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_the_resize_is_pils_bit_by_bit(shape):
    images = RNG.integers(0, 256, (2, *shape, 3), np.uint8)
    images[1] = RNG.choice([0, 255], (*shape, 3))  # the filter overshoots
    expected = [np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC)) for image in images]
    np.testing.assert_array_equal(jax.jit(lambda x: bicubic_resize(x, 224, 224))(images), expected)


def test_the_resize_has_a_height_and_a_width():
    image = RNG.integers(0, 256, (40, 30, 3), np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((20, 50), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(bicubic_resize(image[None], 50, 20)[0], expected)


def test_preprocessing_is_that_of_torchvision():
    transforms = pytest.importorskip('torchvision.transforms')
    images = RNG.integers(0, 256, (2, 48, 64, 3), np.uint8)
    theirs = transforms.Compose(
        [
            transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    expected = np.stack([theirs(Image.fromarray(image)).numpy().transpose(1, 2, 0) for image in images])
    np.testing.assert_allclose(preprocess(images), expected, atol=1e-6)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The tiny network instead of the base size, and an empty cache."""
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path / 'cache'))
    return random_dinov2.replace_published(monkeypatch, 'base')


def test_grey_images_are_colour_images_of_equal_channels(tiny, tmp_path):
    variables, _ = dinov2_variables(random_dinov2.save(tmp_path / 'model.safetensors'), 'base')
    grey = RNG.integers(0, 256, (2, 20, 30, 1), np.uint8)
    apply = jax.jit(dinov2.feature_function(tiny))
    (features, logits), (of_colours, _) = apply(variables, grey), apply(variables, jnp.repeat(grey, 3, axis=3))
    assert features.shape == (2, tiny.features) and logits is None
    np.testing.assert_array_equal(features, of_colours)


def test_the_hash_is_of_the_tensors_that_are_used(tiny, tmp_path):
    path = random_dinov2.save(tmp_path / 'model.safetensors')
    first = dinov2_variables(path, 'base')[1]
    tensors = load_file(path)
    unused = {name: x for name, x in tensors.items() if name != dinov2_weights.UNUSED}
    save_file(unused, tmp_path / 'without.safetensors', {'format': 'pt'})
    assert dinov2_variables(tmp_path / 'without.safetensors', 'base')[1] == first
    tensors['layernorm.bias'][3] += 1e-3
    save_file(tensors, path)
    assert dinov2_variables(path, 'base')[1] != first


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda t: t.pop('encoder.layer.1.mlp.fc2.bias'), r'encoder.layer.1.mlp.fc2.bias is missing$'),
        (lambda t: t.update(classifier=np.zeros(3, np.float32)), 'classifier belongs to no layer of the network'),
        (
            lambda t: t.update({'encoder.layer.2.mlp.fc2.bias': np.zeros(24, np.float32)}),
            'encoder.layer.2.mlp.fc2.bias belongs to no layer',
        ),
        (
            lambda t: t.update({'embeddings.position_embeddings': np.zeros((1, 17, 24), np.float32)}),
            'embeddings.position_embeddings is 1x17x24, where the network that is described has 1x26x24',
        ),
        (lambda t: t['layernorm.weight'].fill(np.nan), 'layernorm.weight holds NaN or infinity'),
        (lambda t: t.update({'layernorm.weight': np.zeros(24, np.int32)}), 'layernorm.weight is int32'),
    ],
)
def test_a_wrong_file_is_named(tiny, tmp_path, change, words):
    tensors = random_dinov2.tensors()
    change(tensors)
    save_file(tensors, tmp_path / 'model.safetensors')
    with pytest.raises(UserError, match=f'model.safetensors: {words}'):
        dinov2_variables(tmp_path / 'model.safetensors', 'base')


def test_a_file_of_the_other_size_is_named(tiny, tmp_path):
    path = random_dinov2.save(tmp_path / 'model.safetensors')
    with pytest.raises(UserError, match=r'encoder.layer.2.attention.attention.query.weight is missing .and \d+ more'):
        dinov2_variables(path, 'large')


def test_damaged_and_absent_files_are_named(tiny, tmp_path):
    path = random_dinov2.save(tmp_path / 'model.safetensors')
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match='model.safetensors is not a complete file of tensors'):
        dinov2_variables(path, 'base')
    with pytest.raises(UserError, match='absent.safetensors is not a file: name the .safetensors of the DINOv2'):
        dinov2_variables(tmp_path / 'absent.safetensors', 'base')
    with pytest.raises(UserError, match="the size of DINOv2 'giant' does not exist"):
        dinov2_variables(path, 'giant')


@pytest.mark.parametrize('size', dinov2.SIZES)
def test_no_network_is_one_sentence_with_the_address(size, tmp_path, monkeypatch):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path / 'cache'))
    monkeypatch.setattr(published, 'reachable', lambda url: False)
    with pytest.raises(UserError) as e:
        dinov2_variables(size=size)
    file, said = dinov2_weights.PUBLISHED[size], str(e.value)
    assert f'the DINOv2 ViT-{size[0].upper()}/14 weights are not at {tmp_path / "cache" / file.name}' in said
    assert f'{file.url} cannot be reached: download it elsewhere' in said


def test_the_published_file_is_downloaded_once(tiny, tmp_path, monkeypatch):
    weights = random_dinov2.save(tmp_path / 'sent.safetensors')
    sent = [weights.read_bytes()[:-1] + b'\0', weights.read_bytes()]
    file = dataclasses.replace(dinov2_weights.PUBLISHED['base'], sha256=published.file_hash(weights))
    monkeypatch.setitem(dinov2_weights.PUBLISHED, 'base', file)
    monkeypatch.setattr(published, 'reachable', lambda url: True)
    monkeypatch.setattr(published, 'download', lambda url, path, max_bytes: path.write_bytes(sent.pop(0)))
    with pytest.raises(UserError, match='its SHA-256 differs'):
        dinov2_variables(size='base')
    first, again = (dinov2_variables(size='base')[1] for _ in range(2))
    assert first == again == dinov2_variables(weights, 'base')[1] and not sent


def test_published_files_are_pinned_by_revision_and_whole_hash():
    for size, file in dinov2_weights.PUBLISHED.items():
        assert re.fullmatch('[0-9a-f]{64}', file.sha256)
        assert file.name == f'dinov2-{size}-{file.sha256[:8]}.safetensors'
        address = rf'https://huggingface.co/facebook/dinov2-{size}/resolve/[0-9a-f]{{40}}/model.safetensors'
        assert re.fullmatch(address, file.url)
        network = dinov2_weights.network_of(size)
        shapes = dinov2_weights._shapes(network).values()
        assert sum(4 * np.prod(shape) for shape in shapes) < file.max_bytes
