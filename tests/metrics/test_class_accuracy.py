"""Classifiers as evaluators: their files, their outputs for images, and their metrics against values computed by hand."""

import dataclasses
import json
import os
import pathlib

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxgen.data import load
from jaxgen.errors import UserError
from jaxgen.metrics import class_accuracy
from jaxgen.models.classifier import Classifier

needs_cifar = pytest.mark.skipif(
    not (pathlib.Path(os.environ.get('TFDS_DATA_DIR', '/nowhere')) / 'cifar10').is_dir(),
    reason='TFDS_DATA_DIR holds no prepared cifar10',
)
NAMES = ('cat', 'dog', 'horse')


def random_classifier(mirrored=False):
    network, rng = Classifier(3, (4, 6)), np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
    variables = jax.tree.map(lambda s: rng.uniform(0.1, 0.9, s.shape).astype(np.float32), shapes)
    return class_accuracy.TrainedClassifier(
        network, class_accuracy.rounded(variables), 'pets', NAMES, (8, 8, 3), mirrored, 0.75
    )


def images(count):
    return np.random.default_rng(1).integers(0, 256, (count, 8, 8, 3), np.uint8)


def test_metrics_by_hand():
    p = np.array([[0.95, 0.03, 0.02], [0.2, 0.7, 0.1], [0.91, 0.05, 0.04], [0.3, 0.5, 0.2]])
    logits = np.log(p) + np.array([[5], [-3], [0], [700]])  # a constant added to a row leaves softmax as it is
    got = class_accuracy.class_metrics(logits, np.array([0, 0, 1, 1]), NAMES)
    assert got == {
        'mean_confidence': pytest.approx((0.95 + 0.7 + 0.91 + 0.5) / 4),
        'confident': 0.5,
        'seen': {'cat': 2, 'dog': 2, 'horse': 0},
        'accuracy': 0.5,
        'accuracy_per_class': {'cat': 0.5, 'dog': 0.5},
        'confusion': [[1, 1, 0], [1, 1, 0], [0, 0, 0]],
    }
    assert json.loads(json.dumps(got)) == got
    without = class_accuracy.class_metrics(logits, None, NAMES)
    assert without == {name: got[name] for name in ('mean_confidence', 'confident', 'seen')}


def test_rows_of_the_confusion_are_the_classes_asked_for():
    got = class_accuracy.class_metrics(np.eye(3)[[2, 2, 1]], np.array([0, 0, 1]), NAMES)
    assert got['confusion'] == [[0, 0, 2], [0, 1, 0], [0, 0, 0]]
    assert got['accuracy_per_class'] == {'cat': 0.0, 'dog': 1.0}


def test_a_file_keeps_everything(tmp_path):
    before, path = random_classifier(mirrored=True), tmp_path / 'deep' / 'pets.safetensors'
    class_accuracy.save_classifier(path, before)
    after = class_accuracy.load_classifier(path)
    for field in ('network', 'data', 'class_names', 'image_shape', 'mirrored', 'test_accuracy', 'hash', 'description'):
        assert getattr(after, field) == getattr(before, field), field
    outputs = [jax.jit(c.apply)(c.variables, images(3)) for c in (before, after)]
    for a, b in zip(*outputs, strict=True):
        np.testing.assert_array_equal(a, b)
    assert {x.dtype.name for x in load_file(path).values()} == {'bfloat16'}
    changed = jax.tree.map(lambda x: x * 1.01, after.variables)
    assert dataclasses.replace(after, variables=changed).hash != after.hash


@pytest.mark.parametrize('name', ['digits', pytest.param('cifar10', marks=needs_cifar)])
def test_classifiers_of_jaxgen_recognise_real_images(name):
    path = class_accuracy.default_classifier_path(name)
    assert path.stat().st_size <= 4_000_000
    classifier, test = class_accuracy.load_classifier(path), load(name, 'test')
    assert classifier.class_names == test.class_names
    images, labels = test.images[:400], test.labels[:400]
    _, logits = jax.jit(classifier.apply)(classifier.variables, images)
    right = int((np.argmax(logits, 1) == labels).sum())
    expected = len(labels) * classifier.test_accuracy
    assert abs(right - expected) < 3 * np.sqrt(expected * (1 - classifier.test_accuracy)) + 1


def test_a_wrong_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match='absent.safetensors is not a file'):
        class_accuracy.load_classifier(tmp_path / 'absent.safetensors')
    path = tmp_path / 'x.safetensors'
    class_accuracy.save_classifier(path, random_classifier())
    whole = path.read_bytes()
    for broken in (b'', whole[:100], whole[:-1000], b'hello' * 100):
        path.write_bytes(broken)
        with pytest.raises(UserError, match='x.safetensors is not the file of a classifier, or is damaged'):
            class_accuracy.load_classifier(path)
    save_file({'w': np.ones(3, np.float32)}, path)
    with pytest.raises(UserError, match='x.safetensors is not the file of a classifier'):
        class_accuracy.load_classifier(path)
    one = random_classifier()
    del one.variables['params']['head']
    class_accuracy.save_classifier(path, one)
    with pytest.raises(UserError, match='params.head.kernel is missing or wrong'):
        class_accuracy.load_classifier(path)


def test_mirrored_outputs_are_means_over_both_sides():
    one, x = random_classifier(), images(4)
    apply = jax.jit(one.apply)
    seen, mirror = apply(one.variables, x), apply(one.variables, x[:, :, ::-1])
    both = jax.jit(dataclasses.replace(one, mirrored=True).apply)(one.variables, x)
    for a, b, mean in zip(seen, mirror, both, strict=True):
        assert abs(np.asarray(a - b)).max() > 1e-3
        np.testing.assert_allclose(mean, (a + b) / 2, rtol=1e-5)


def test_the_extractor_is_the_network_at_the_highest_precision():
    one, x = random_classifier(), images(4)
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


def test_labels_of_other_sets_are_converted():
    one = random_classifier()
    labels = np.array([0, 1, 1])
    np.testing.assert_array_equal(one.own_labels(labels, ('horse', 'cat')), [2, 0, 0])
    np.testing.assert_array_equal(one.own_labels(labels, ()), labels)
    assert one.own_labels(None, NAMES) is None
    assert one.own_labels(labels, ('horse', 'cow')) is None
    assert one.own_labels(np.array([-1, -1]), NAMES) is None  # labels of a model without classes
    assert one.own_labels(np.array([3]), ()) is None


def test_the_classifier_of_jaxgen_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setattr(class_accuracy, '__file__', str(tmp_path / 'class_accuracy.py'))
    assert class_accuracy.default_classifier_path('pets') is None and class_accuracy.find_classifier('pets') is None
    path = tmp_path / 'classifiers' / 'pets.safetensors'
    class_accuracy.save_classifier(path, random_classifier())
    assert (
        class_accuracy.default_classifier_path('pets') == path and class_accuracy.find_classifier('pets').data == 'pets'
    )
    path.rename(tmp_path / 'other.safetensors')
    assert class_accuracy.find_classifier('digits', tmp_path / 'other.safetensors').data == 'pets'


def test_the_calibration_temperature_is_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, 4))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)  # distributed as softmax(logits)
    for divisor in (0.25, 1.0, 3.0):
        np.testing.assert_allclose(class_accuracy.calibration_temperature(logits * divisor, labels), divisor, rtol=0.05)
