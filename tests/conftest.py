"""Eight virtual CPU devices for every test, so that one process can compare one device with eight; quick compilation."""

import os

os.environ['XLA_FLAGS'] = ' '.join(
    [
        os.environ.get('XLA_FLAGS', ''),
        '--xla_backend_optimization_level=0',
        '--xla_llvm_disable_expensive_passes=true',
        '--xla_cpu_use_thunk_runtime=true',
    ]
)

import jax  # noqa: E402

jax.config.update('jax_num_cpu_devices', 8)
