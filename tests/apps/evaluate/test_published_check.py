"""torch-fidelity's published check, from real images and real weights: half an hour on two cores, so by hand.

JAXGEN_LONG_TESTS=1 TFDS_DATA_DIR=... python -m pytest -q tests/apps/evaluate/test_published_check.py
"""

import json
import os

import pytest
from etils import epath

from configs import ddpm_cifar
from jaxgen.cli import modes


@pytest.mark.skipif(not os.environ.get('JAXGEN_LONG_TESTS'), reason='half an hour: set JAXGEN_LONG_TESTS=1')
def test_5000_against_5000_images_of_cifar10(tmp_path, capsys):
    config = ddpm_cifar.get_config()
    config.evaluation.generated, config.evaluation.num = 'cifar10:test', 5000
    config.evaluation.reference, config.evaluation.reference_num = 'cifar10:train', 5000
    config.evaluation.metrics = 'fid'
    modes.run('evaluate', config, epath.Path(tmp_path))
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert abs(result['fid'] - 10.32333) < 0.01
