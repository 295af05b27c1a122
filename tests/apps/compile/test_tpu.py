"""Programs compiled for TPU slices without a TPU. They take minutes and need the optional libtpu, so they are run by hand.

JAXGEN_LONG_TESTS=1 python -m pytest -q tests/apps/compile/test_tpu.py      # after pip install libtpu
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(
    not os.environ.get('JAXGEN_LONG_TESTS') or not importlib.util.find_spec('libtpu'),
    reason='minutes: pip install libtpu and set JAXGEN_LONG_TESTS=1',
)
SMALL = {
    'model.base_channels': 32,
    'model.channel_multipliers': 1,
    'model.attention_resolutions': '()',
    'model.dtype': 'bfloat16',
    'sample.num_steps': 2,
    'compile.topology': 'v5e:2x2',
}


def start(workdir, **fields):
    args = [f'--config.{name}={value}' for name, value in {**SMALL, **fields}.items()]
    command = [sys.executable, 'main.py', '--config=configs/ddpm_digits.py', f'--workdir={workdir}', '--mode=compile']
    return subprocess.Popen([*command, *args], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def compiled(workdir, **fields):
    process = start(workdir, **fields)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return json.loads((workdir / 'compile' / 'v5e-2x2.json').read_text()), out


def test_a_step_fits_reduces_its_gradients_once_and_has_no_float32_product(tmp_path):
    report, out = compiled(tmp_path / 'run')
    train = report['programs']['train']
    assert train['fits'] and report['programs']['sample']['fits'] and 'An estimate for 4 chips of v5e:2x2' in out
    assert train['float32_products'] == []
    count, volume = train['collectives']['all-reduce']
    assert count <= 2 and volume > 0
    assert all(seconds > 0 for seconds in train['seconds'].values())


def test_what_does_not_fit_is_said(tmp_path):
    """The network is too wide, because with too large a batch the compiler would spend many minutes on making it fit."""
    fields = {'model.base_channels': 2**14, 'data.batch_size': 8, 'compile.largest_batch': True}
    report, out = compiled(tmp_path / 'run', **fields)
    assert not report['programs']['train']['fits'] and 'train: does not fit: ' in out
    assert 'compiling train with batches of 4 ' in out and report['largest_batch'] is None
    assert 'largest batch that fits, doubling or halving data.batch_size: none' in out


def test_two_at_once_are_told_of_each_other(tmp_path):
    processes = [start(tmp_path / str(i)) for i in range(2)]
    results = [(*p.communicate(), p.returncode) for p in processes]
    codes = sorted(code for *_, code in results)
    assert codes in ([0, 2], [0, 0]), results  # the second may start when the first is done
    for _, err, code in results:
        assert code == 0 or 'the TPU compiler is in use by another process' in err
