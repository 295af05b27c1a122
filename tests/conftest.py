"""Eight virtual CPU devices for every test, so that one process can compare one device with eight; quick compilation."""

import os

os.environ['XLA_FLAGS'] = (
    os.environ.get('XLA_FLAGS', '') + ' --xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true'
)

import jax  # noqa: E402

jax.config.update('jax_num_cpu_devices', 8)
