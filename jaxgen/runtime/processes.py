"""Several processes that train one run: how they meet."""

from __future__ import annotations

import os
import sys

import jax

from jaxgen.errors import UserError
from jaxgen.io.processes import is_first

ENVIRONMENT = ('JAX_COORDINATOR_ADDRESS', 'JAX_NUM_PROCESSES', 'JAX_PROCESS_ID')


def join() -> None:
    """Meets the other processes of the run: those that ``ENVIRONMENT`` speaks of, or those of the TPU slice or the cluster.

    Of all processes only the first prints.

    Raises:
      UserError: if they are not found.
    """
    said = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    if said and len(said) < len(ENVIRONMENT):
        missing = next(name for name in ENVIRONMENT if name not in said)
        raise UserError(f'config.mesh.distributed: the environment has {", ".join(said)}, but no {missing}')
    try:
        if said:
            address, num, number = (said[name] for name in ENVIRONMENT)
            jax.distributed.initialize(address, int(num), int(number))
        else:
            jax.distributed.initialize()
    except (ValueError, RuntimeError) as e:
        raise UserError(
            f'config.mesh.distributed: the other processes were not found ({str(e).splitlines()[0][:200]}); where JAX does '
            f'not know the cluster, set {", ".join(ENVIRONMENT)}'
        ) from e
    if not is_first():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
