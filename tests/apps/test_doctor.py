"""What --mode=doctor says, and which accelerators it misses."""

import functools
import re

import jax
import pytest

from jaxgen.apps import doctor
from jaxgen.io.files import cache_dir
from jaxgen.runtime import hardware


@pytest.fixture
def report(tmp_path, monkeypatch, capsys):
    """Return a function that returns the report of a machine without data, weights and optional packages, by its titles."""
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'data'))
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path / 'cache'))
    monkeypatch.setattr(
        doctor, 'matrix_product_rate', functools.partial(doctor.matrix_product_rate, side=16, seconds=0.001)
    )
    installed = doctor._version
    optional = {name for names, _, _ in doctor.OPTIONAL for name in names}
    monkeypatch.setattr(doctor, '_version', lambda package: None if package in optional else installed(package))

    def run():
        doctor.run()
        parts = re.split(r'^(\w.*)\n', capsys.readouterr().out, flags=re.MULTILINE)
        return {title: lines.split('\n') for title, lines in zip(parts[1::2], parts[2::2], strict=True)}

    return run


def test_versions_devices_and_places_are_named(report, tmp_path):
    found = report()
    assert f'jax {jax.__version__}' in found['Versions'][1]
    assert hardware.described(jax.devices()) in found['Devices'][0] and found['Devices'][1].endswith(' GFLOP/s')
    assert any(f' cifar10: {tmp_path}/data/cifar10/' in line for line in found['Data and weights'])
    assert any(f' cache: {cache_dir()}, ' in line and line.endswith(' GiB free') for line in found['Disk'])


def test_what_is_missing_is_named_with_its_remedy(report, monkeypatch):
    monkeypatch.setattr(hardware, 'unused_accelerator', lambda: 'this machine has a TPU, but JAX uses the CPU')
    missing = '\n'.join(report()['Missing'])
    for words in ('has a TPU', 'pip install -r requirements-demo.txt', 'configs/ddpm_cifar.py --mode=data', 'http'):
        assert words in missing


@pytest.mark.parametrize(
    ('nvidia', 'tpu', 'installed', 'words'),
    [
        (True, False, (), "an NVIDIA GPU, but JAX uses the CPU: pip install 'jax[cuda13]'"),
        (False, True, (), "a TPU, but JAX uses the CPU: pip install 'jax[tpu]'"),
        (False, True, ('libtpu',), 'a TPU, but JAX uses the CPU: JAX_PLATFORMS=tpu shows the reason'),
    ],
)
def test_an_accelerator_that_is_not_used_is_named(monkeypatch, nvidia, tpu, installed, words):
    monkeypatch.delenv('JAX_PLATFORMS', raising=False)
    monkeypatch.setattr(jax, 'default_backend', lambda: 'cpu')
    monkeypatch.setattr(hardware, '_has_nvidia', lambda: nvidia)
    monkeypatch.setattr(hardware, '_has_tpu', lambda: tpu)
    monkeypatch.setattr(hardware.importlib.util, 'find_spec', lambda name: name in installed or None)
    assert words in hardware.unused_accelerator()
    monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
    assert hardware.unused_accelerator() is None


def test_a_tpu_is_told_from_other_devices_of_its_vendor(tmp_path, monkeypatch):
    for name, device in (('network', '0x0042'), ('tpu', '0x0063')):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'vendor').write_text('0x1ae0\n')
        (tmp_path / name / 'device').write_text(f'{device}\n')
        monkeypatch.setattr(hardware.glob, 'glob', lambda pattern, name=name: [str(tmp_path / name / 'vendor')])
        assert hardware._has_tpu() is (name == 'tpu')
