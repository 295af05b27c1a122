"""``--mode=evaluate``: torch-fidelity's numbers, the protocol, and what metrics depend on."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from etils import epath
from PIL import Image

from jaxgen.apps.demo.views import metrics_table
from jaxgen.apps.edit.start import edit_keys
from jaxgen.apps.evaluate.evaluator import make_evaluator, summary
from jaxgen.apps.evaluate.generated import STREAM, generated_set
from jaxgen.apps.restore import restore
from jaxgen.apps.untrained import build_method
from jaxgen.cli import modes
from jaxgen.data import load
from jaxgen.errors import UserError
from jaxgen.metrics.evaluator import FEW_PER_CLASS
from jaxgen.metrics.features import Extraction
from jaxgen.metrics.sets.image_sets import open_set
from jaxgen.models.published.dinov2_weights import dinov2_variables
from jaxgen.runtime.mesh import make_mesh
from tests.helpers import dinov2 as random_dinov2
from tests.helpers import random_inception
from tests.tiny import LONG, tiny_config, untrained

TINY = {'evaluation.extractor': 'judge', 'evaluation.num': 200}


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    root = epath.Path(tmp_path_factory.mktemp('runs'))
    return {family: untrained(tiny_config(family), root / family) for family in ('ddpm', 'dcgan')}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path_factory.getbasetemp() / 'cache'))


def evaluate(workdir, capsys, family='ddpm', **fields):
    modes.run('evaluate', tiny_config(family, **{**TINY, **fields}), workdir)
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@LONG
def test_metrics_are_those_of_torch_fidelity(tmp_path, capsys):
    fake, real = random_inception.two_sets()
    np.savez(tmp_path / 'fake.npz', images=fake)
    np.savez(tmp_path / 'real.npz', images=real)
    torch.save(random_inception.state(), tmp_path / 'random.pth')
    fields = {
        'evaluation.extractor': 'inception',
        'evaluation.batch_size': random_inception.COUNT,  # one whole batch
        'evaluation.generated': str(tmp_path / 'fake.npz'),
        'evaluation.reference': str(tmp_path / 'real.npz'),
        'evaluation.inception_weights': str(tmp_path / 'random.pth'),
    }
    result = evaluate(epath.Path(tmp_path), capsys, **fields)
    for name, expected in random_inception.TORCH_FIDELITY.items():
        np.testing.assert_allclose(result[name], expected, rtol=1e-3 if name == 'fid' else 1e-4, err_msg=name)
    assert [w.split(':')[0] for w in result['warnings']] == [
        '40 generated images are fewer than 2,048',
        '40 reference images are fewer than 2,048',
        'KID has no standard deviation',
    ]
    assert result['kid_std'] is None
    assert f'kid: {result["kid"]:.6f}, deviation not estimated' in summary(result).splitlines()
    assert '>not estimated</td>' in metrics_table({'fake': result})
    (file,) = (tmp_path / 'evaluation').iterdir()
    assert 'fake.npz' in file.name and json.loads(file.read_text()) == result


def test_dinov2_is_named_in_protocol_and_summary(tmp_path, capsys, monkeypatch):
    random_dinov2.replace_published(monkeypatch, 'large')
    random_dinov2.replace_published(monkeypatch, 'base')
    weights = random_dinov2.save(tmp_path / 'tiny.safetensors')
    found = {}
    for extractor in ('dinov2', 'dinov2_base'):
        found[extractor] = evaluate(
            epath.Path(tmp_path) / extractor,
            capsys,
            **{
                'evaluation.extractor': extractor,
                'evaluation.dinov2_weights': str(weights),
                'evaluation.generated': 'digits:test',
                'evaluation.metrics': ('fid', 'kid', 'inception_score', 'density_coverage'),
                'evaluation.num': 40,
                'evaluation.reference_num': 40,
            },
        )
    result = found['dinov2']
    assert result['protocol']['extractor'] == {
        'name': 'dinov2-vit-l14',
        'weights': dinov2_variables(weights)[1],
        'resize': 'pil-bicubic-224',
        'position_offset': 0.1,
    }
    assert result['protocol']['parameters']['coverage_neighbours'] == 5
    assert result['inception_score'] is None and 0 < result['coverage'] <= 1 and result['density'] > 0
    assert (
        'distances are computed from the features of dinov2-vit-l14: they cannot be compared with FID'
        in result['warnings']
    )
    assert any(w.startswith('40 reference images are fewer than 2,048: FD-DINOv2 is') for w in result['warnings'])
    lines = summary(result).splitlines()
    assert f'FD-DINOv2: {result["fid"]:.4f}' in lines and f'coverage: {result["coverage"]:.4f}' in lines
    assert f'FD-DINOv2 (ViT-B/14): {result["fid"]:.4f}' in summary(found['dinov2_base'])
    assert 'FD-DINOv2, lower is better' in metrics_table({'digits': result})


def test_every_metric_has_its_protocol(runs, capsys):
    result = evaluate(runs['ddpm'], capsys)
    assert json.loads((runs['ddpm'] / 'evaluation' / '4.json').read_text()) == result
    protocol = result['protocol']
    generated, reference = dict(protocol['generated']), protocol['reference']
    assert generated.pop('weights') != protocol['extractor']['weights'] == protocol['judge']['weights']
    assert generated == {
        'family': 'ddpm', 'data': 'digits', 'data_classes': '', 'max_examples': 0, 'step': 4, 'ema': True,
        'sampler': 'ddim', 'num_steps': 4, 'stream': 'evaluation',
        'network_calls': 4, 'eta': 0.0, 'guidance_scale': 1.0, 'classes': '', 'count': 200, 'seed': 0, 'prng': 'threefry2x32',
        'dtype': 'float32', 'matmul_precision': 'default', 'batch_size': 16,
    }  # fmt: skip
    assert (reference['dataset'], reference['split'], reference['count']) == ('digits', 'train', 1437)
    assert (protocol['device'], protocol['feature_precision']) == ('cpu', 'float32, highest')
    assert protocol['versions']['jax'] == jax.__version__
    judged = result['judge']
    assert np.sum(judged['confusion']) == 200 and 0 <= judged['accuracy'] <= 1
    assert 'fid_per_class' not in result  # of 20 images each
    assert result['kid_std'] is None  # of subsets that are the whole set of 200 generated images

    again = evaluate(runs['ddpm'], capsys)
    assert {**again, 'images_per_sec': 0} == {**result, 'images_per_sec': 0}
    assert evaluate(runs['dcgan'], capsys, 'dcgan')['protocol']['generated']['network_calls'] == 1


@pytest.mark.parametrize(('classes', 'said'), [(('3', '8'), True), (tuple('9876543210'), False)])
def test_classes_that_the_reference_lacks_are_named(runs, capsys, classes, said):
    fields = {'sample.classes': classes, 'evaluation.num': 16, 'evaluation.metrics': ('fid',)}
    warnings = evaluate(runs['dcgan'], capsys, 'dcgan', **fields)['warnings']
    expected = 'the classes of the generated images are 3, 8, but the reference has 0, 1, 2, 3, 4, 5, 6, 7, 8, 9'
    assert (expected in warnings) == said == any('but the reference has' in warning for warning in warnings)


@pytest.mark.parametrize(('classes', 'known'), [(('3',), True), (('3', '8'), False)])
def test_a_model_of_one_class_is_asked_for_that_class(tmp_path, capsys, classes, known):
    fields = {'data.classes': classes, 'model.conditional': False, 'evaluation.num': 16, 'evaluation.metrics': ('fid',)}
    workdir = untrained(tiny_config('dcgan', **fields), epath.Path(tmp_path) / 'run')
    judged = evaluate(workdir, capsys, 'dcgan', **fields)['judge']
    assert ('accuracy' in judged) == known
    if known:
        assert judged['accuracy_per_class'] == {'3': judged['seen']['3'] / 16}


@pytest.mark.parametrize('family', ['ddpm', 'dcgan'])
def test_the_protocol_has_the_precision_of_the_network(runs, family):
    """What the network computes in, which is not what the features are computed in."""
    fields = {'model.dtype': 'bfloat16', 'sample.batch_size': 24}
    trained = restore(tiny_config(family), runs[family])
    method = build_method(tiny_config(family, **fields), (8, 8, 1), 10)
    trained = dataclasses.replace(trained, config=tiny_config(family, **fields), method=method)
    with jax.default_matmul_precision('tensorfloat32'):
        description = generated_set(trained, trained.sampler(0, STREAM), 16).description
    expected = {'dtype': 'bfloat16', 'matmul_precision': 'tensorfloat32', 'batch_size': 24}
    assert {name: description[name] for name in expected} == expected


def test_another_protocol_overwrites_nothing(runs, capsys):
    first = evaluate(runs['dcgan'], capsys, 'dcgan', **{'evaluation.seed': 7})
    second = evaluate(runs['dcgan'], capsys, 'dcgan', **{'evaluation.seed': 8})
    assert first['fid'] != second['fid']
    files = {p.name: json.loads(p.read_text()) for p in (runs['dcgan'] / 'evaluation').iterdir()}
    assert files['4.json'] == second and first in files.values()


def test_neither_batches_nor_devices_matter(runs):
    """Images generated and evaluated again from the same seeds have the same FID to a thousandth of its value."""
    found = []
    for devices, batch_size, sample_batch in ((8, 16, 16), (1, 50, 40), (2, 4, 64)):
        config = tiny_config(**{**TINY, 'evaluation.batch_size': batch_size, 'sample.batch_size': sample_batch})
        mesh = make_mesh(devices=jax.devices()[:devices])
        trained = restore(config, runs['ddpm'])
        result = make_evaluator(config, mesh, ('fid', 'kid', 'precision_recall'))(
            generated_set(trained, trained.sampler(0, STREAM), 200)
        )
        found.append([result[name] for name in ('fid', 'kid')])
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=1e-3)


def test_the_prng_of_training_changes_no_image(runs):
    """The numbers of rbg depend on the batch, so images, edits and bounds are made with the keys of threefry."""
    images, keys = [], []
    for fields in ({}, {'train.prng': 'rbg'}, {'train.prng': 'rbg', 'sample.batch_size': 40}):
        trained = restore(tiny_config(**fields), runs['ddpm'])
        sampled = generated_set(trained, trained.sampler(0, STREAM), 40)
        images.append(np.concatenate(list(sampled.pieces())))
        keys.append(edit_keys(trained.config, 3))
        assert sampled.description['prng'] == 'threefry2x32'
    np.testing.assert_array_equal(images[1], images[0])
    np.testing.assert_allclose(images[2].astype(int), images[0], atol=1)
    assert jnp.all(keys[1] == keys[0])


def test_samples_of_training_are_not_evaluated(runs):
    """The evaluation generates other images than the grids and the evaluations during training, for the same seed."""
    trained = restore(tiny_config(), runs['ddpm'])
    shown = trained.sampler()(trained.model, 16)[0]
    judged = np.concatenate(list(generated_set(trained, trained.sampler(0, STREAM), 16).pieces()))
    assert (shown != judged).mean() > 0.5


def test_a_set_against_itself(capsys, tmp_path):
    fields = {'evaluation.generated': 'digits:train', 'evaluation.num': 2000}
    result = evaluate(epath.Path(tmp_path), capsys, **fields)
    assert abs(result['fid']) < 1e-6 and result['precision'] == result['recall'] == 1
    assert result['judge']['accuracy'] > 0.97
    assert set(result['fid_per_class']) == set('0123456789')
    assert max(map(abs, result['fid_per_class'].values())) < 1e-6
    assert sum(FEW_PER_CLASS in warning for warning in result['warnings']) == 1
    assert result['kid_std'] > 0 and f' +- {result["kid_std"]:.6f} over subsets' in summary(result)
    held_out = evaluate(epath.Path(tmp_path), capsys, **{**fields, 'evaluation.generated': 'digits:test'})
    assert held_out['fid'] > 1e-3 and held_out['judge']['accuracy'] > 0.95


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'evaluation.metrics': ('fid', 'kod')}, "config.evaluation.metrics.* 'kod' does not exist; did you mean kid"),
        ({'evaluation.resize': 'bicubic'}, "config.evaluation.resize 'bicubic' does not exist"),
        ({'evaluation.generated': 'digits:tset'}, "the split 'tset' does not exist; did you mean test"),
        ({'evaluation.reference': 'nowhere'}, 'config.evaluation.reference=nowhere is neither a folder'),
        ({'evaluation.judge': 'nowhere.safetensors'}, 'config.evaluation.judge: nowhere.safetensors is not a file'),
        (
            {'data.image_size': 16, 'evaluation.generated': 'digits:test'},
            'config.evaluation.extractor: the .* 16x16, and judge-digits takes 8x8',
        ),
        ({'checkpoint.restore': 'best'}, 'best holds no checkpoint yet: train there with config.evaluation.every'),
        ({'evaluation.extractor': 'inception', 'evaluation.inception_weights': 'x.pth'}, 'x.pth is not a file'),
        (
            {'evaluation.extractor': 'dinov2', 'evaluation.dinov2_weights': 'x.safetensors'},
            'config.evaluation.dinov2_weights: x.safetensors is not a file: name the .safetensors of the DINOv2 weights',
        ),
        ({'evaluation.extractor': 'dino'}, "config.evaluation.extractor 'dino' does not exist; did you mean dinov2"),
    ],
)
def test_bad_input_is_one_sentence(runs, capsys, fields, words):
    with pytest.raises(UserError, match=words):
        evaluate(runs['ddpm'], capsys, **fields)


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'evaluation.num': 1, 'evaluation.metrics': ('fid',)}, 'config.evaluation.num=1 gives 1 image, but fid needs'),
        (
            {'evaluation.num': 3, 'evaluation.metrics': ('precision_recall',)},
            'evaluation.num=3 gives 3 images, but precision',
        ),
        ({'evaluation.num': 9}, 'evaluation.num=9 gives 9 images, but inception_score needs at least 10'),
        (
            {'evaluation.reference_num': 1, 'evaluation.metrics': ('kid',)},
            'config.evaluation.reference_num=1 gives 1 image',
        ),
        (
            {'evaluation.reference': 'one'},
            'config.evaluation.reference=.*one.npz gives 1 image, but fid needs at least 2',
        ),
        (
            {'evaluation.generated': 'one'},
            'config.evaluation.generated=.*one.npz gives 1 image, but fid needs at least 2',
        ),
        ({'evaluation.generated': 'digits:test', 'evaluation.num': 1}, 'config.evaluation.num=1 gives 1 image'),
    ],
)
def test_too_few_images_are_refused_before_any_feature(runs, capsys, tmp_path, monkeypatch, fields, words):
    def never(*args):
        raise AssertionError('features are computed')

    monkeypatch.setattr(Extraction, '__call__', never)
    np.savez(tmp_path / 'one.npz', images=np.zeros((1, 8, 8, 1), np.uint8))
    fields = {field: str(tmp_path / 'one.npz') if value == 'one' else value for field, value in fields.items()}
    with pytest.raises(UserError, match=words):
        evaluate(runs['dcgan'], capsys, 'dcgan', **fields)


def test_files_of_a_folder_that_are_not_read_are_a_warning(capsys, tmp_path):
    for i, pixels in enumerate(load('digits', 'test').images[:20]):
        Image.fromarray(pixels[..., 0]).save(tmp_path / f'{i:02}.png')
    (tmp_path / 'labels.csv').touch()
    fields = {'evaluation.generated': str(tmp_path), 'evaluation.metrics': ('fid',)}
    result = evaluate(epath.Path(tmp_path) / 'run', capsys, **fields)
    assert result['warnings'][0].startswith(f'1 file of {tmp_path} is not read, such as labels.csv: only images')


def test_labels_of_a_file_mean_what_the_config_says(tmp_path, capsys):
    """Labels of a model of some classes index these classes, and the classifier knows all."""
    threes = load('digits', 'test', classes=('3',)).images
    np.savez(tmp_path / 'x.npz', images=threes, labels=np.zeros(len(threes), int))
    fields = {'evaluation.generated': str(tmp_path / 'x.npz'), 'evaluation.reference': 'digits:train'}
    result = evaluate(epath.Path(tmp_path), capsys, **fields, **{'data.classes': ('3', '7')})
    assert result['judge']['accuracy'] > 0.9 and list(result['judge']['accuracy_per_class']) == ['3']


def test_a_classifier_generates_nothing_to_evaluate(tmp_path, capsys):
    workdir = untrained(tiny_config('judge'), epath.Path(tmp_path) / 'judge')
    with pytest.raises(UserError, match='config.family=judge generates no images'):
        evaluate(workdir, capsys, 'judge')


def test_a_grey_classifier_refuses_images_in_colour(tmp_path):
    np.savez(tmp_path / 'x.npz', images=np.zeros((20, 8, 8, 3), np.uint8))
    evaluator = make_evaluator(tiny_config(**TINY), make_mesh(), ('fid',))
    with pytest.raises(UserError, match='the generated images have 3 channels, and judge-digits takes 1'):
        evaluator(open_set(str(tmp_path / 'x.npz'), 'field'))
