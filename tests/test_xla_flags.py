"""The XLA flag for CPUs: set unless the user or the version of jaxlib forbids it, and effective."""

import importlib.metadata
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.runtime import xla_flags
from tests.tiny import LONG

KERNEL_GRADIENT = """
from tests.test_xla_flags import compiled_kernel_gradient
print(compiled_kernel_gradient())
"""

GUIDED_SAMPLES = """
import sys
import jax
import numpy as np
import jaxgen
jax.config.update('jax_num_cpu_devices', 2)
two = jaxgen.load('pretrained/ddpm_cifar').sample(64, guidance_scale=2.5)
jax.devices = lambda: jax.local_devices()[:1]
one = jaxgen.load('pretrained/ddpm_cifar').sample(64, guidance_scale=2.5)
np.savez(sys.argv[1], one=one, two=two)
"""


def compiled_kernel_gradient():
    """Return the compiled program of the kernel gradient of a 3x3 convolution, as text."""
    x = jnp.zeros((8, 16, 16, 32))
    kernel = jnp.zeros((3, 3, 32, 32))

    def convolve(kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))

    return jax.jit(lambda g: jax.linear_transpose(convolve, kernel)(g)).lower(x).compile().as_text()


def test_kernel_gradients_are_not_given_to_ynnpack():
    program = compiled_kernel_gradient()
    assert 'convolution(' in program
    assert 'ynn_fusion' not in program


def test_the_flag_of_the_user_is_kept():
    mine = xla_flags.DEFAULT_FUSION_TYPE
    env = os.environ | {'XLA_FLAGS': mine, 'JAX_ENABLE_COMPILATION_CACHE': 'false'}
    done = subprocess.run([sys.executable, '-c', KERNEL_GRADIENT], env=env, capture_output=True, text=True, check=True)
    assert 'ynn_fusion' in done.stdout


@pytest.mark.parametrize(
    ('version', 'expected'),
    [('', False), ('0.10.1', False), ('0.10.2', True), ('0.12.0.1', True), ('0.12.9', True), ('0.13.0', False)],
)
def test_untried_versions_of_jaxlib_get_no_flag(monkeypatch, version, expected):
    monkeypatch.setenv('XLA_FLAGS', '--xla_dump_to=there')
    monkeypatch.setattr(xla_flags, '_jaxlib_version', lambda: version)
    xla_flags.set_defaults()
    flags = ['--xla_dump_to=there', xla_flags.FUSION_TYPE]
    assert os.environ['XLA_FLAGS'].split() == (flags if expected else flags[:1])


def test_setting_the_defaults_twice_changes_nothing(monkeypatch):
    monkeypatch.delenv('XLA_FLAGS')
    xla_flags.set_defaults()
    once = os.environ['XLA_FLAGS']
    xla_flags.set_defaults()
    assert os.environ['XLA_FLAGS'] == once == xla_flags.FUSION_TYPE


def test_programs_that_sample_convolve_as_without_the_flag():
    x, kernel = jnp.zeros((8, 16, 16, 32)), jnp.zeros((3, 3, 32, 32))

    def convolve(x):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))

    options = xla_flags.options_of_samplers()
    assert options and 'ynn_fusion' in jax.jit(convolve, compiler_options=options).lower(x).compile().as_text()
    assert 'ynn_fusion' not in jax.jit(convolve).lower(x).compile().as_text()


@LONG
@pytest.mark.skipif(not xla_flags.is_known(importlib.metadata.version('jaxlib')), reason='no flag is set')
def test_one_and_two_devices_sample_the_same_images(tmp_path):
    env = {name: value for name, value in os.environ.items() if name != 'XLA_FLAGS'}  # compiled as for a user
    subprocess.run([sys.executable, '-c', GUIDED_SAMPLES, str(tmp_path / 'samples.npz')], env=env, check=True)
    with np.load(tmp_path / 'samples.npz') as samples:
        one, two = (samples[name].astype(int) for name in ('one', 'two'))
    assert one.std() > 40
    np.testing.assert_allclose(two, one, rtol=0, atol=1)  # with the flag alone, the first image of the two is noise
