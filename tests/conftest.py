"""Eight virtual CPU devices for every test, so that one process can compare one device with eight; quick compilation.

What one process has compiled, the others of the same run of the tests (and runs that a test kills and starts again) read.
"""

import gc
import importlib.metadata
import os
import platform
import tempfile

from jaxtyping import install_import_hook

from jaxgen.runtime import xla_flags

if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix='jaxgen-tests-')
    os.environ['JAX_COMPILATION_CACHE_DIR'] = COMPILED.name
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.1'
# The programs of the tests take far longer to compile than to run, so LLVM optimises nothing and MLIR's passes are left out.
QUICK = ['--xla_backend_optimization_level=0', '--xla_llvm_disable_expensive_passes=true']
if xla_flags.is_known(importlib.metadata.version('jaxlib')):  # XLA ends the process on a flag it does not know
    QUICK += ['--xla_cpu_use_fusion_emitters=false', '--xla_cpu_emitter_verification_level=0']
    if platform.machine() == 'x86_64':  # without fused multiply-adds, two programs round the same expression alike
        QUICK += ['--xla_cpu_max_isa=AVX']
os.environ['XLA_FLAGS'] = ' '.join([os.environ.get('XLA_FLAGS', ''), *QUICK])

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

import jaxgen.types  # noqa: E402
from jaxgen.apps.twins import torchvision_operators  # noqa: E402
from tests.helpers import typechecking  # noqa: E402

jax.config.update('jax_num_cpu_devices', 8)
torchvision_operators.declare()  # before any test imports diffusers

# The shapes and types in the signatures of these packages are checked at every call; an array may be one of NumPy.
jaxgen.types.Array = jax.Array | np.ndarray
install_import_hook(
    ['jaxgen.diffusion', 'jaxgen.gan', 'jaxgen.metrics', 'jaxgen.models'], f'{typechecking.__name__}.checked'
)


@pytest.fixture(autouse=True, scope='module')
def without_tensorboard(request):
    """Write no events for TensorBoard, except where they are read: TensorFlow takes long to import."""
    from jaxgen.training.writers import tensorboard

    with pytest.MonkeyPatch.context() as patch:
        if request.path.name != 'test_loop.py':
            patch.setattr(tensorboard, '_summary_writer', lambda logdir: None)
        yield


def pytest_collection_modifyitems(items):
    """The longest files first, so that at the end no process of the tests waits for another."""
    items.sort(key=lambda item: not {'training', 'sweep', 'demo', 'test_xla_flags.py'} & set(item.path.parts))


def pytest_collection_finish():
    """Exempt what the imports made from garbage collection, which tracing triggers often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
