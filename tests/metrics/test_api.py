"""The public functions: torch-fidelity's numbers, all forms of images, examples that run, shapes that are checked."""

import doctest
import subprocess
import sys

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from PIL import Image

import jaxgen.metrics
from jaxgen.errors import UserError
from jaxgen.metrics import api, features
from jaxgen.metrics.class_accuracy import find_classifier
from jaxgen.metrics.class_probabilities import inception_score, log_softmax
from jaxgen.metrics.features import Extraction, dinov2_extractor
from jaxgen.metrics.frechet import frechet_distance_of_few
from jaxgen.metrics.kernel import kernel_distance
from jaxgen.metrics.manifold import density_coverage, precision_recall
from tests.helpers import dinov2 as random_dinov2
from tests.helpers import random_inception


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.save(random_inception.state(), path)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path_factory.getbasetemp() / 'cache'))


def test_numbers_are_those_of_torch_fidelity(tmp_path, weights):
    fake, real = random_inception.two_sets()
    np.savez(tmp_path / 'fake.npz', images=fake)
    np.savez(tmp_path / 'real.npz', images=real)
    sets = tmp_path / 'fake.npz', str(tmp_path / 'real.npz')
    options = {'inception_weights': weights, 'batch_size': random_inception.COUNT}
    expected = random_inception.TORCH_FIDELITY
    np.testing.assert_allclose(jaxgen.metrics.fid(*sets, **options), expected['fid'], rtol=1e-3)
    kid = jaxgen.metrics.kid(*sets, **options)
    np.testing.assert_allclose(kid.mean, expected['kid'], rtol=1e-4)
    assert kid.std is None
    score = jaxgen.metrics.inception_score(sets[0], **options)
    np.testing.assert_allclose(score, [expected['inception_score'], expected['inception_score_std']], rtol=1e-4)
    found = jaxgen.metrics.precision_recall(*sets, **options)
    np.testing.assert_allclose(found, [expected['precision'], expected['recall']], rtol=1e-4)


def test_metrics_of_dinov2_are_those_of_its_features(tmp_path, monkeypatch):
    random_dinov2.replace_published(monkeypatch, 'large')
    path = random_dinov2.save(tmp_path / 'tiny.safetensors')
    fake, real = random_inception.two_sets()
    extractor = dinov2_extractor(path)
    a, b = (Extraction([extractor])([images])[0].features for images in (fake, real))
    options = {'extractor': 'dinov2', 'dinov2_weights': path}
    found = jaxgen.metrics.fid(fake, real, **options)
    np.testing.assert_allclose(found, frechet_distance_of_few(a, b), rtol=1e-4)
    assert jaxgen.metrics.density_coverage(fake, real, **options) == density_coverage(a, b)
    assert jaxgen.metrics.precision_recall(fake, real, **options) == precision_recall(a, b)
    assert jaxgen.metrics.kid(fake, real, **options).mean == kernel_distance(a, b, 100, 1000)[0]


@pytest.mark.parametrize('name', ['fid', 'kid', 'inception_score', 'precision_recall', 'density_coverage'])
def test_the_example_of_each_function_runs(name, monkeypatch):
    """With a small network in the place of Inception."""
    small = find_classifier('digits').extractor()
    monkeypatch.setattr(features, 'inception_extractor', lambda path=None, resize='tf1': small)
    (example,) = doctest.DocTestFinder().find(getattr(api, name), name, globs={'np': np, 'jaxgen': jaxgen})
    result = doctest.DocTestRunner().run(example)
    assert result.attempted >= 2 and not result.failed


@pytest.mark.parametrize(
    ('arguments', 'options', 'words'),
    [
        ((np.zeros((4, 8, 8, 3), np.uint8), 'nowhere'), {}, 'reference=nowhere is neither a folder'),
        (('digits:test', 'digits:train'), {'num': 0}, 'num=0 must be at least 1, or None'),
        (('digits:test', 'digits:train'), {'resize': 'bicubic'}, "resize 'bicubic' does not exist"),
        (('digits:test', 'digits:train'), {'inception_weights': 'x.pth'}, 'x.pth is not a file'),
        (
            ('digits:test', 'digits:train'),
            {'extractor': 'dinov3'},
            "the extractor 'dinov3' does not exist; did you mean",
        ),
        (
            ('digits:test', 'digits:train'),
            {'extractor': 'dinov2_base', 'dinov2_weights': 'x.safetensors'},
            'x.safetensors is not a file: name the .safetensors of the DINOv2 weights',
        ),
    ],
)
def test_wrong_arguments_are_named(arguments, options, words, weights):
    with pytest.raises(UserError, match=words):
        jaxgen.metrics.fid(*arguments, **{'inception_weights': weights, **options})


FEW = np.zeros((9, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ('name', 'sets', 'options', 'words'),
    [
        ('fid', (FEW[:1], FEW), {}, 'images gives 1 image, but fid needs at least 2: take more images'),
        ('fid', (FEW, FEW[:1]), {}, 'reference gives 1 image, but fid'),
        ('fid', (FEW, 'digits:test'), {'reference_num': 1}, 'reference_num=1 gives 1 image, but fid'),
        ('kid', ('digits:test', FEW), {'num': 1}, 'num=1 gives 1 image, but kid needs at least 2'),
        ('precision_recall', (FEW[:3], FEW), {}, 'images gives 3 images, but precision_recall needs at least 4'),
        ('precision_recall', (FEW, FEW[:3]), {}, 'reference gives 3 images, but precision_recall needs at least 4'),
        ('density_coverage', (FEW[:1], FEW[:5]), {}, 'reference gives 5 images, but density_coverage needs at least 6'),
        ('inception_score', (FEW,), {}, 'images gives 9 images, but inception_score needs at least 10'),
    ],
)
def test_too_few_images_are_refused_before_any_weights(name, sets, options, words):
    with pytest.raises(UserError, match=f'^{words}'):
        getattr(jaxgen.metrics, name)(*sets, **options, inception_weights='there is no such file')


def test_files_that_are_not_read_give_a_warning(tmp_path, weights):
    Image.new('L', (8, 8)).save(tmp_path / 'a.png')
    (tmp_path / 'b.avif').touch()
    with (
        pytest.warns(UserWarning, match='1 file of .* is not read, such as b.avif'),
        pytest.raises(UserError, match='images gives 1 image'),
    ):
        jaxgen.metrics.fid(str(tmp_path), FEW, inception_weights=weights)


def test_importing_the_metrics_imports_no_networks():
    code = 'import sys, jaxgen.metrics; sys.exit("flax" in sys.modules or "PIL" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def test_shapes_in_the_signatures_are_those_of_the_arguments():
    """conftest.py turns on the checks of the signatures."""
    a, b = np.random.default_rng(0).normal(size=(2, 9, 5)).astype(np.float32)
    for function in (kernel_distance, frechet_distance_of_few, precision_recall, density_coverage):
        function(a, b[:7])
        with pytest.raises(TypeCheckError):
            function(a, b[:, :4])
    for function in (log_softmax, inception_score):
        function(a)
        with pytest.raises(TypeCheckError):
            function(a[0])
