"""The Inception network against pytorch-fid and torch-fidelity with the same random weights, and files of weights."""

import functools
import importlib.util
import re

import jax
import numpy as np
import pytest
import torch
from PIL import Image

from jaxgen.errors import UserError
from jaxgen.io import published
from jaxgen.models.published import inception
from jaxgen.models.published import inception_weights as weights
from tests.helpers import random_inception


@pytest.fixture(scope='module')
def references():
    """Both packages, where they are installed."""
    for name in ('torchvision', 'pytorch_fid', 'torch_fidelity'):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f'{name} is not installed')
    from pytorch_fid import inception as pytorch_fid
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as TorchFidelity

    return pytorch_fid, TorchFidelity


@pytest.fixture(scope='module')
def state():
    return random_inception.state()


@pytest.fixture(scope='module')
def variables(state, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('JAXGEN_CACHE_DIR', str(tmp_path_factory.mktemp('cache')))
        path = tmp_path_factory.mktemp('weights') / 'random.pth'
        torch.save(state, path)
        yield weights.inception_variables(str(path))[0]


@functools.cache
def compiled():
    return jax.jit(lambda variables, x: inception.Inception().apply(variables, x))


def relative(got, expected):
    return abs(got - expected).max() / abs(expected).max()


def test_outputs_are_those_of_the_reference_networks(references, state, variables, tmp_path, monkeypatch):
    pytorch_fid, torch_fidelity = references
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    x = np.asarray(inception.tf1_resize(images))
    features, logits = compiled()(variables, x)

    monkeypatch.setattr(pytorch_fid, 'load_state_dict_from_url', lambda *args, **kwargs: state)
    theirs = pytorch_fid.InceptionV3([3], resize_input=False, normalize_input=False).eval()
    with torch.no_grad():
        (pooled,) = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    assert relative(features, pooled[:, :, 0, 0].numpy()) < 1e-4

    torch.save(state, tmp_path / 'state.pth')
    extractor = torch_fidelity(
        'random', ['2048', 'logits_unbiased'], feature_extractor_weights_path=tmp_path / 'state.pth'
    )
    their_features, their_logits = extractor(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    assert relative(features, their_features.numpy()) < 1e-4
    assert relative(logits, their_logits.numpy()) < 1e-4


@pytest.mark.parametrize('shape', [(32, 32), (64, 48), (299, 299), (400, 350)])
def test_the_resize_is_tensorflow_1s(shape):
    tensorflow = pytest.importorskip('tensorflow')
    images = np.random.default_rng(2).integers(0, 256, (1, *shape, 3), np.uint8)
    resized = tensorflow.compat.v1.image.resize_bilinear(images.astype(np.float32), (299, 299), align_corners=False)
    np.testing.assert_allclose(inception.tf1_resize(images), (resized.numpy() - 128) / 128, atol=2e-6)


@pytest.mark.parametrize('shape', [(8, 8), (64, 48), (299, 299), (400, 350)])
def test_the_clean_resize_is_pils(shape):
    """Clean-FID resizes each channel as floats by PIL's antialiased bicubic filter, and clips the result."""
    images = np.random.default_rng(2).integers(0, 256, (1, *shape, 3), np.uint8)
    channels = [
        Image.fromarray(images[0, :, :, c].astype(np.float32)).resize((299, 299), Image.BICUBIC) for c in range(3)
    ]
    expected = np.clip(np.stack(channels, axis=-1), 0, 255)
    np.testing.assert_allclose(inception.clean_resize(images)[0] * 128 + 128, expected, atol=6e-3)  # float32 of 255


def test_all_products_run_at_the_highest_precision():
    """The lowered program states the precision of each convolution; the default is lower on TPUs and GPUs."""
    shapes = jax.eval_shape(inception.Inception().init, jax.random.key(0), np.zeros((1, 299, 299, 3), np.float32))
    program = compiled().lower(shapes, jax.ShapeDtypeStruct((1, 299, 299, 3), np.float32)).as_text()
    products = [line for line in program.splitlines() if 'stablehlo.convolution' in line or 'dot_general' in line]
    assert len(products) == weights.CONVOLUTIONS + 1
    for line in products:
        assert line.count('HIGHEST') == 2, line


def test_weights_without_classifier_and_the_hash_of_the_tensors(state, tmp_path, monkeypatch):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path / 'cache'))
    bare = {k: v for k, v in state.items() if not k.startswith('fc.')}
    torch.save(bare, tmp_path / 'new.pth')
    torch.save(bare, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    (new, new_hash), (old, old_hash) = (weights.inception_variables(str(tmp_path / f'{n}.pth')) for n in ('new', 'old'))
    assert 'fc' not in new['params'] and new_hash == old_hash
    np.testing.assert_array_equal(
        new['params']['Mixed_7c.branch_pool']['kernel'], old['params']['Mixed_7c.branch_pool']['kernel']
    )
    changed = {**bare, 'Conv2d_1a_3x3.bn.bias': bare['Conv2d_1a_3x3.bn.bias'] + 1e-3}
    torch.save(changed, tmp_path / 'changed.pth')
    assert weights.inception_variables(str(tmp_path / 'changed.pth'))[1] != new_hash


def test_a_wrong_file_is_named(state, tmp_path, monkeypatch):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path / 'cache'))
    for broken, words in (
        ({k: v for k, v in state.items() if 'Mixed_7c' not in k}, '94 convolutions: found 85'),
        (
            {k: v for k, v in state.items() if k != 'Mixed_5b.branch1x1.bn.bias'},
            'Mixed_5b.branch1x1.bn.bias is missing',
        ),
        ({'weight': torch.ones(3)}, 'is not the FID Inception network'),
    ):
        torch.save(broken, tmp_path / 'x.pth')
        with pytest.raises(UserError, match=words):
            weights.inception_variables(str(tmp_path / 'x.pth'))
    with pytest.raises(UserError, match='absent.pth is not a file'):
        weights.inception_variables(str(tmp_path / 'absent.pth'))


def test_no_network_is_one_sentence_with_the_address(tmp_path, monkeypatch):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path / 'cache'))
    monkeypatch.setattr(published, 'reachable', lambda url: False)
    with pytest.raises(UserError) as e:
        weights.inception_variables()
    path = tmp_path / 'cache' / 'pt_inception-2015-12-05-6726825d.pth'
    assert weights.PUBLISHED.url in str(e.value) and f'the Inception weights are not at {path}' in str(e.value)


def test_a_file_in_the_cache_is_read(state, tmp_path, monkeypatch):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path))
    torch.save(state, tmp_path / weights.PUBLISHED.name)
    assert 'fc' in weights.inception_variables()[0]['params']


def test_the_published_hash_is_whole():
    assert re.fullmatch('[0-9a-f]{64}', weights.PUBLISHED.sha256)
    assert weights.PUBLISHED.url.endswith(f'-{weights.PUBLISHED.sha256[:8]}.pth')
