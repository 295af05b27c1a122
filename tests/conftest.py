"""Eight virtual CPU devices for every test, so that one process can compare one device with eight; quick compilation.

What one process has compiled, the others of the same run of the tests (and runs that a test kills and starts again) read.
"""

import os
import tempfile

if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix='jaxgen-tests-')
    os.environ['JAX_COMPILATION_CACHE_DIR'] = COMPILED.name
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.1'
os.environ['XLA_FLAGS'] = (
    os.environ.get('XLA_FLAGS', '') + ' --xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true'
)

import jax  # noqa: E402

import jaxgen  # noqa: E402, F401  it sets the XLA flags that programs run with

jax.config.update('jax_num_cpu_devices', 8)


def pytest_collection_modifyitems(items):
    """The longest files first, so that at the end no process of the tests waits for another."""
    items.sort(key=lambda item: 'training' not in item.path.parts)
