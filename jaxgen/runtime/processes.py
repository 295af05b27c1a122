"""Join the processes that train one run together."""

from __future__ import annotations

import os
import sys

import jax

from jaxgen.errors import UserError
from jaxgen.io.processes import is_first
from jaxgen.runtime import progress

ENVIRONMENT = ('JAX_COORDINATOR_ADDRESS', 'JAX_NUM_PROCESSES', 'JAX_PROCESS_ID')


def join() -> None:
    """Connect to the other processes of the run; from then on only the first process prints.

    The variables of ``ENVIRONMENT`` have the address, the number of processes and the index of this one. Without them JAX asks
    the TPU slice or the cluster.

    Raises:
      UserError: if some of the variables are missing, or the other processes cannot be reached.
    """
    said = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    if said and len(said) < len(ENVIRONMENT):
        missing = next(name for name in ENVIRONMENT if name not in said)
        raise UserError(f'the environment has {", ".join(said)}, but no {missing}')
    try:
        if said:
            address, num, number = (said[name] for name in ENVIRONMENT)
            jax.distributed.initialize(address, int(num), int(number))
        else:
            jax.distributed.initialize()
    except (ValueError, RuntimeError) as e:
        raise UserError(
            f'the other processes were not found ({str(e).splitlines()[0][:200]}); where JAX does not know the cluster, set '
            f'{", ".join(ENVIRONMENT)}'
        ) from e
    if not is_first():
        progress.silence()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
