"""The mesh of devices, and the shardings of state and batches on it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgen.types import PyTree

BATCH_AXES = ('data', 'fsdp')


def make_mesh(fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Return a mesh with the axes ``data`` and ``fsdp``; a batch is split over both, a parameter over ``fsdp``.

    Args:
      fsdp: number of devices over which each parameter is split; it divides the number of devices.
      devices: the devices of the mesh; all devices if not set.

    Returns:
      A mesh of shape ``[len(devices) // fsdp, fsdp]``.
    """
    devices = devices or jax.devices()
    return jax.make_mesh((len(devices) // fsdp, fsdp), BATCH_AXES, axis_types=(AxisType.Auto,) * 2, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding that keeps a whole copy on each device."""
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Return the sharding that splits an array over all devices along ``axis``."""
    return NamedSharding(mesh, P(*(None,) * axis, BATCH_AXES))


def state_shardings(mesh: Mesh, state: PyTree) -> PyTree:
    """Return the sharding of each array in a state.

    An array is split along the longest of its axes whose size the number of ``fsdp`` devices divides; without such an axis
    each device keeps a copy.

    Args:
      mesh: the mesh of :func:`make_mesh`.
      state: a tree of arrays, or of their shapes.

    Returns:
      The shardings, in a tree of the same structure.
    """
    size = mesh.shape['fsdp']

    def sharding(x) -> NamedSharding:
        axes = [i for i, n in enumerate(x.shape) if n % size == 0 and n >= size]
        if size == 1 or not axes:
            return replicated(mesh)
        longest = max(axes, key=lambda i: x.shape[i])
        return NamedSharding(mesh, P(*(None,) * longest, 'fsdp'))

    return jax.tree.map(sharding, state)


def on_mesh(mesh: Mesh, state: PyTree) -> PyTree:
    """Return the state with its NumPy arrays copied to the devices that :func:`state_shardings` names."""

    def put(x: PyTree, sharding: NamedSharding) -> jax.Array:
        return jax.device_put(x, sharding, may_alias=False) if isinstance(x, np.ndarray) else x

    return jax.tree.map(put, state, state_shardings(mesh, state))


def on_host(mesh: Mesh, state: PyTree) -> PyTree:
    """Return NumPy copies of all arrays of a state, on every process."""
    return jax.tree.map(np.array, _gather(mesh)(state))


@functools.cache
def _gather(mesh: Mesh) -> Callable[[PyTree], PyTree]:
    """Return the jitted function that gathers a state; the cache saves compiling it again for each checkpoint."""
    return jax.jit(lambda state: state, out_shardings=replicated(mesh))
