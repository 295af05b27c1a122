"""The named mesh of all devices, and how state and batches lie on it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

BATCH_AXES = ('data', 'fsdp')


def make_mesh(fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All (or these) devices as ``data`` x ``fsdp``: a batch lies over both, a parameter over ``fsdp``."""
    devices = devices or jax.devices()
    return jax.make_mesh((len(devices) // fsdp, fsdp), BATCH_AXES, axis_types=(AxisType.Auto,) * 2, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Over all devices along ``axis``."""
    return NamedSharding(mesh, P(*(None,) * axis, BATCH_AXES))


def state_shardings(mesh: Mesh, state: Any) -> Any:
    """Each array along its longest axis that ``fsdp`` divides; a copy on every device where there is none."""
    size = mesh.shape['fsdp']

    def sharding(x) -> NamedSharding:
        axes = [i for i, n in enumerate(x.shape) if n % size == 0 and n >= size]
        if size == 1 or not axes:
            return replicated(mesh)
        longest = max(axes, key=lambda i: x.shape[i])
        return NamedSharding(mesh, P(*(None,) * longest, 'fsdp'))

    return jax.tree.map(sharding, state)


def on_mesh(mesh: Mesh, state: Any) -> Any:
    """The same state with what is on the host copied to where ``state_shardings`` has it."""

    def put(x: Any, sharding: NamedSharding) -> jax.Array:
        return jax.device_put(x, sharding, may_alias=False) if isinstance(x, np.ndarray) else x

    return jax.tree.map(put, state, state_shardings(mesh, state))


def on_host(mesh: Mesh, state: Any) -> Any:
    """NumPy copies of all arrays, on every process."""
    return jax.tree.map(np.array, _gather(mesh)(state))


@functools.cache
def _gather(mesh: Mesh) -> Callable[[Any], Any]:
    """One function for a mesh, so that what is brought at every checkpoint is compiled once."""
    return jax.jit(lambda state: state, out_shardings=replicated(mesh))
