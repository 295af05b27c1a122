"""The judge's file, what it sees, and its figures, by hand."""

import dataclasses
import json
import os
import pathlib

import jax
import numpy as np
import pytest
from etils import epath
from safetensors.numpy import load_file, save_file

from jaxgen.data import load
from jaxgen.errors import UserError
from jaxgen.metrics import class_accuracy as judge
from jaxgen.models.classifier import Classifier
from tests.helpers.runs import train
from tests.tiny import tiny_config

needs_cifar = pytest.mark.skipif(
    not (pathlib.Path(os.environ.get('TFDS_DATA_DIR', '/nowhere')) / 'cifar10').is_dir(),
    reason='TFDS_DATA_DIR holds no prepared cifar10',
)
NAMES = ('cat', 'dog', 'horse')


def random_judge(mirrored=False):
    network, rng = Classifier(3, (4, 6)), np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
    variables = jax.tree.map(lambda s: rng.uniform(0.1, 0.9, s.shape).astype(np.float32), shapes)
    return judge.Judge(network, judge._rounded(variables), 'pets', NAMES, (8, 8, 3), mirrored, 0.75)


def images(count):
    return np.random.default_rng(1).integers(0, 256, (count, 8, 8, 3), np.uint8)


def test_figures_by_hand():
    p = np.array([[0.95, 0.03, 0.02], [0.2, 0.7, 0.1], [0.91, 0.05, 0.04], [0.3, 0.5, 0.2]])
    logits = np.log(p) + np.array([[5], [-3], [0], [700]])  # softmax does not see what is added to a row
    got = judge.figures(logits, np.array([0, 0, 1, 1]), NAMES)
    assert got == {
        'mean_confidence': pytest.approx((0.95 + 0.7 + 0.91 + 0.5) / 4),
        'confident': 0.5,
        'seen': {'cat': 2, 'dog': 2, 'horse': 0},
        'accuracy': 0.5,
        'accuracy_per_class': {'cat': 0.5, 'dog': 0.5},
        'confusion': [[1, 1, 0], [1, 1, 0], [0, 0, 0]],
    }
    assert json.loads(json.dumps(got)) == got
    without = judge.figures(logits, None, NAMES)
    assert without == {name: got[name] for name in ('mean_confidence', 'confident', 'seen')}


def test_rows_are_asked_and_columns_seen():
    got = judge.figures(np.eye(3)[[2, 2, 1]], np.array([0, 0, 1]), NAMES)
    assert got['confusion'] == [[0, 0, 2], [0, 1, 0], [0, 0, 0]]
    assert got['accuracy_per_class'] == {'cat': 0.0, 'dog': 1.0}


def test_a_file_keeps_all_of_it(tmp_path):
    before, path = random_judge(mirrored=True), tmp_path / 'deep' / 'pets.safetensors'
    judge.save_judge(path, before)
    after = judge.load_judge(path)
    for field in ('network', 'data', 'class_names', 'image_shape', 'mirrored', 'test_accuracy', 'hash', 'description'):
        assert getattr(after, field) == getattr(before, field), field
    for a, b in zip(before.apply(before.variables, images(3)), after.apply(after.variables, images(3)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert {x.dtype.name for x in load_file(path).values()} == {'bfloat16'}
    changed = jax.tree.map(lambda x: x * 1.01, after.variables)
    assert dataclasses.replace(after, variables=changed).hash != after.hash


@pytest.mark.parametrize('name', ['digits', pytest.param('cifar10', marks=needs_cifar)])
def test_those_that_come_with_jaxgen_recognise_real_images(name):
    path = judge.default_judge(name)
    assert path.stat().st_size <= 4_000_000
    the_judge, test = judge.load_judge(path), load(name, 'test')
    assert the_judge.class_names == test.class_names
    images, labels = test.images[:400], test.labels[:400]
    _, logits = jax.jit(the_judge.apply)(the_judge.variables, images)
    right = int((np.argmax(logits, 1) == labels).sum())
    expected = len(labels) * the_judge.test_accuracy
    assert abs(right - expected) < 3 * np.sqrt(expected * (1 - the_judge.test_accuracy)) + 1


def test_a_wrong_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match='absent.safetensors is not a file'):
        judge.load_judge(tmp_path / 'absent.safetensors')
    path = tmp_path / 'x.safetensors'
    judge.save_judge(path, random_judge())
    whole = path.read_bytes()
    for broken in (b'', whole[:100], whole[:-1000], b'hello' * 100):
        path.write_bytes(broken)
        with pytest.raises(UserError, match='x.safetensors is not the file of a judge, or was damaged'):
            judge.load_judge(path)
    save_file({'w': np.ones(3, np.float32)}, path)
    with pytest.raises(UserError, match='x.safetensors is not the file of a judge'):
        judge.load_judge(path)
    one = random_judge()
    del one.variables['params']['head']
    judge.save_judge(path, one)
    with pytest.raises(UserError, match='params.head.kernel is missing or wrong'):
        judge.load_judge(path)


def test_mirrored_it_sees_both_sides():
    one, x = random_judge(), images(4)
    seen, mirror = one.apply(one.variables, x), one.apply(one.variables, x[:, :, ::-1])
    both = dataclasses.replace(one, mirrored=True).apply(one.variables, x)
    for a, b, mean in zip(seen, mirror, both, strict=True):
        assert abs(np.asarray(a - b)).max() > 1e-3
        np.testing.assert_allclose(mean, (a + b) / 2, rtol=1e-5)


def test_it_sees_what_the_network_saw_in_training_at_the_highest_precision():
    one, x = random_judge(), images(4)
    features, logits = one.network.apply(one.variables, x / np.float32(127.5) - 1)
    extractor = one.extractor()
    assert (extractor.channels, extractor.image_size) == (3, 8)
    got = extractor.apply(extractor.variables, x)
    np.testing.assert_allclose(got[0], features, rtol=1e-5)
    np.testing.assert_allclose(got[1], logits, rtol=1e-5)
    program = jax.jit(one.apply).lower(one.variables, x).as_text()
    products = [line for line in program.splitlines() if 'stablehlo.convolution' in line or 'dot_general' in line]
    assert len(products) == 6
    for line in products:
        assert line.count('HIGHEST') == 2, line


def test_labels_of_other_sets():
    one = random_judge()
    labels = np.array([0, 1, 1])
    np.testing.assert_array_equal(one.labels(labels, ('horse', 'cat')), [2, 0, 0])
    np.testing.assert_array_equal(one.labels(labels, ()), labels)
    assert one.labels(None, NAMES) is None
    assert one.labels(labels, ('horse', 'cow')) is None
    assert one.labels(np.array([-1, -1]), NAMES) is None  # of a network that knows no classes
    assert one.labels(np.array([3]), ()) is None


def test_jaxgens_own(tmp_path, monkeypatch):
    monkeypatch.setattr(judge, '__file__', str(tmp_path / 'judge.py'))
    assert judge.default_judge('pets') is None and judge.for_images('', 'pets') is None
    path = tmp_path / 'classifiers' / 'pets.safetensors'
    judge.save_judge(path, random_judge())
    assert judge.default_judge('pets') == path and judge.for_images('', 'pets').data == 'pets'
    path.rename(tmp_path / 'other.safetensors')
    assert judge.for_images(str(tmp_path / 'other.safetensors'), 'digits').data == 'pets'


def test_the_temperature_is_found_again():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, 4))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)  # distributed as softmax(logits)
    for divisor in (0.25, 1.0, 3.0):
        np.testing.assert_allclose(judge.temperature(logits * divisor, labels), divisor, rtol=0.05)


def test_from_a_workdir_to_a_file(tmp_path, capsys):
    """A hundred tiny steps: accuracy is that of the slow weights on the test digits, and is written down."""
    steps = {'train.steps': 100, 'train.log_every': 100, 'checkpoint.every': 100, 'optimizer.decay_steps': 100}
    config, workdir = tiny_config('judge', **steps), epath.Path(tmp_path) / 'run'
    train(config, workdir)
    capsys.readouterr()
    path = tmp_path / 'digits.safetensors'
    assert judge.main(['judge', str(workdir), str(path)]) == 0
    got = json.loads(capsys.readouterr().out.splitlines()[-1])
    one, test = judge.load_judge(path), load('digits', 'test')
    _, logits = one.apply(one.variables, test.images)
    np.testing.assert_allclose(np.mean(logits.argmax(1) == test.labels), got['accuracy'])
    assert one.test_accuracy == got['accuracy'] and one.mirrored == config.data.random_flip
    assert np.sum(got['confusion']) == 360 and got['temperature'] > 0
    assert judge.temperature(np.asarray(logits), test.labels) == pytest.approx(1, abs=0.02)


def test_a_workdir_without_a_judge_is_one_sentence(tmp_path, capsys):
    assert judge.main(['judge', str(tmp_path), str(tmp_path / 'x')]) == 2
    assert 'holds no trained model' in capsys.readouterr().err
    (tmp_path / 'config.json').write_text(json.dumps({'family': 'dcgan'}))
    assert judge.main(['judge', str(tmp_path), str(tmp_path / 'x')]) == 2
    assert 'holds a dcgan, and not a judge' in capsys.readouterr().err
    assert judge.main(['judge']) == 2 and not (tmp_path / 'x').exists()
