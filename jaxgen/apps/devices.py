"""Set up JAX for a config, before anything is computed."""

from __future__ import annotations

import os

import jax

from jaxgen.apps.config import Config
from jaxgen.apps.rules import validate_devices
from jaxgen.io.files import cache_dir
from jaxgen.runtime import memory, xla_flags
from jaxgen.runtime.processes import join
from jaxgen.schema import located


def set_up(config: Config) -> None:
    """Set virtual devices, reproducibility, and a cache of compiled programs if the environment does not name one.

    Raises:
      UserError: if the batches do not divide over the devices, the other processes cannot be reached, or the flags for
        reproducible runs were not tried with this version of jaxlib.
    """
    if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
        jax.config.update('jax_compilation_cache_dir', str(cache_dir() / 'compiled'))
    if config.mesh.keep_memory:
        memory.use_one_arena()
    if config.train.deterministic:
        with located('config.train.deterministic'):
            xla_flags.make_gpus_deterministic()
    if config.mesh.cpu_devices is not None:
        jax.config.update('jax_num_cpu_devices', config.mesh.cpu_devices)
    if config.mesh.distributed:
        with located('config.mesh.distributed'):
            join()
    validate_devices(config, jax.device_count())
