"""Checkpoints of the train state: Orbax, asynchronous, complete or absent, and checked for damage when read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from jaxgen.errors import UserError
from jaxgen.io.files import absolute
from jaxgen.io.processes import is_first

# Orbax reports damage as any of these, tensorstore's as a bare Exception: whatever goes wrong while a file is read.
_UNREADABLE = Exception
# Orbax's own way has every device of a mesh write a part of each array that all of them hold, cut out by a program for each
# part and shape: a state of this size is written before those are compiled.
_ARRAYS = ocp.type_handlers.create_type_handler_registry(
    (jax.Array, ocp.type_handlers.ArrayHandler(use_replica_parallel=False))
)


def checksum(state: Any) -> jax.Array:
    """uint32 of all bytes of all arrays, weighted by odd numbers so that no change of one byte goes unseen.

    Integer sums do not depend on their order, so neither does this on how the arrays are sharded. Orbax's files have no
    checksum of their own over the values: a flipped bit would be read back as another number. Each array has a program
    of its own, which all of its shape share: one for all of them would take longer to compile than a step of training.
    """
    return sum((_weighted(x, np.uint32(i)) for i, x in enumerate(jax.tree.leaves(state))), jnp.zeros((), jnp.uint32))


@jax.jit
def _weighted(x: jax.Array, i: jax.Array) -> jax.Array:
    data = jax.lax.bitcast_convert_type(x, jnp.uint8).astype(jnp.uint32)
    weights = jnp.ones((), jnp.uint32) + 2 * i
    for axis, size in enumerate(data.shape):
        place = jnp.arange(size, dtype=jnp.uint32) * jnp.uint32(2 * (0x1E3779B1 >> axis))
        weights = weights + place.reshape((size,) + (1,) * (data.ndim - axis - 1))
    return jnp.sum(data * weights, dtype=jnp.uint32)


class Checkpoints:
    """The checkpoints of a workdir.

    Args:
      directory: ``workdir/checkpoints``; each step is a folder in it.
      keep: how many of the newest stay.
      keep_every: steps that are multiples of this stay for ever; 0 for none.
      read_only: neither makes the directory nor writes to it.
    """

    def __init__(self, directory: epath.Path, keep: int = 1, keep_every: int = 0, read_only: bool = False):
        self.directory = absolute(directory)  # Orbax takes no other
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep, keep_period=keep_every or None, read_only=read_only
        )
        handler = ocp.PyTreeCheckpointHandler(type_handler_registry=_ARRAYS)
        self._manager = ocp.CheckpointManager(self.directory, options=options, item_handlers={'state': handler})

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, rising."""
        return sorted(self._manager.all_steps(read=True))

    def save(self, step: int, state: Any) -> None:
        """Starts to write; returns when the state's buffers may be reused.

        Raises:
          UserError: if the disk is full or not writable; the checkpoints before this one stay.
        """
        tree = {'state': state, 'checksum': checksum(state)}
        with self._writing():
            self._manager.save(step, args=ocp.args.Composite(state=ocp.args.PyTreeSave(tree)), force=True)

    def wait(self) -> None:
        """Until what :meth:`save` began is on disk; raises like it."""
        with self._writing():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as e:
            reason = 'no space left' if 'RESOURCE_EXHAUSTED' in str(e) else str(e).splitlines()[0][:200]
            raise UserError(
                f'cannot write a checkpoint to {self.directory} ({reason}): mend that and run the same command again; '
                f'the checkpoints before it are whole'
            ) from e

    def restore(self, step: int, template: Any) -> Any:
        """The state of a step, on the shardings of ``template`` (shapes, dtypes, shardings).

        Raises:
          DamagedError: if a file is missing, cut short or changed.
        """
        any_leaf = jax.tree.leaves(template)[0]
        tree = {'state': template, 'checksum': jax.ShapeDtypeStruct((), jnp.uint32, sharding=any_leaf.sharding)}
        try:
            how = ocp.args.PyTreeRestore(tree, restore_args=ocp.checkpoint_utils.construct_restore_args(tree))
            tree = self._manager.restore(step, args=ocp.args.Composite(state=how)).state
        except _UNREADABLE as e:
            raise DamagedError(str(e).splitlines()[0][:200]) from e
        if checksum(tree['state']) != tree['checksum']:
            raise DamagedError('its checksum differs')
        return tree['state']

    def restore_newest(self, template: Any, report: Callable[[str], None]) -> tuple[int, Any] | None:
        """The newest checkpoint that is whole, as ``(step, state)``; None where there is none yet.

        Each damaged one is reported; :meth:`discard_after` takes it out of the way.

        Raises:
          UserError: if there are checkpoints and all are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return step, self.restore(step, template)
            except DamagedError as e:
                report(f'checkpoint {self.directory / str(step)} is damaged ({e}); trying the one before it')
        if steps:
            raise UserError(f'all checkpoints in {self.directory} are damaged: remove the folder to start again')
        return None

    def discard_after(self, step: int) -> None:
        """Moves the (damaged) checkpoints after ``step`` aside, to ``damaged-<step>``, so that theirs can be written again."""
        late = [s for s in self.steps() if s > step]
        if late and is_first():
            for later in late:
                aside = self.directory.parent / f'damaged-{later}'
                if aside.exists():
                    aside.rmtree()
                (self.directory / str(later)).rename(aside)
        if late:
            multihost_utils.sync_global_devices('discarded')
        self._manager.reload()

    def close(self) -> None:
        """Ends the writing thread; a write that failed was told by :meth:`save` or :meth:`wait`."""
        with contextlib.suppress(OSError, ValueError):
            self._manager.close()


class DamagedError(Exception):
    """A checkpoint that cannot be read back as it was written."""
