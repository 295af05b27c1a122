"""From a trained run to the file of a classifier."""

import json

import numpy as np
import pytest
from etils import epath

from jaxgen.apps import publish_classifier
from jaxgen.data import load
from jaxgen.metrics.class_accuracy import calibration_temperature, load_classifier
from tests.helpers.runs import train
from tests.tiny import tiny_config


def test_a_run_becomes_a_calibrated_classifier(tmp_path, capsys):
    """After a hundred small steps the file holds the averaged weights and their accuracy on the test digits."""
    steps = {'train.steps': 100, 'train.log_every': 100, 'checkpoint.every': 100, 'optimizer.decay_steps': 100}
    config, workdir = tiny_config('judge', **steps), epath.Path(tmp_path) / 'run'
    train(config, workdir)
    capsys.readouterr()
    path = tmp_path / 'digits.safetensors'
    assert publish_classifier.main(['publish_classifier', str(workdir), str(path)]) == 0
    got = json.loads(capsys.readouterr().out.splitlines()[-1])
    one, test = load_classifier(path), load('digits', 'test')
    _, logits = one.apply(one.variables, test.images)
    np.testing.assert_allclose(np.mean(logits.argmax(1) == test.labels), got['accuracy'])
    assert one.test_accuracy == got['accuracy'] and one.mirrored == config.data.random_flip
    assert np.sum(got['confusion']) == 360 and got['temperature'] > 0
    assert calibration_temperature(np.asarray(logits), test.labels) == pytest.approx(1, abs=0.02)


def test_a_run_without_a_classifier_is_one_sentence(tmp_path, capsys):
    command = ['publish_classifier', str(tmp_path), str(tmp_path / 'x')]
    assert publish_classifier.main(command) == 2
    assert 'holds no trained model' in capsys.readouterr().err
    (tmp_path / 'config.json').write_text(json.dumps({'family': 'dcgan'}))
    assert publish_classifier.main(command) == 2
    assert 'holds a dcgan and not a classifier' in capsys.readouterr().err
    assert publish_classifier.main(['publish_classifier']) == 2 and not (tmp_path / 'x').exists()
