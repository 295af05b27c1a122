"""Checkpoints of the train state: written by Orbax in the background, complete or absent, and checked when they are read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from jaxgen.errors import UserError
from jaxgen.io.files import absolute
from jaxgen.io.processes import is_first
from jaxgen.io.tensors import shape_text
from jaxgen.types import Array, PyTree

# By default Orbax lets every device write a part of each replicated array, and compiles a program for each part and shape that
# cuts it out. Compiling these programs takes longer than writing a state of this size from one device.
_ARRAYS = ocp.type_handlers.create_type_handler_registry(
    (jax.Array, ocp.type_handlers.ArrayHandler(use_replica_parallel=False))
)


def checksum(state: PyTree) -> Array:
    """Return the sum of all bytes of all arrays, uint32, each byte weighted by its own odd number.

    A change of a single byte always changes the sum. Integer sums do not depend on their order, so the sharding of the
    arrays does not matter. Orbax's files have no checksum over the values: without this one, a flipped bit would be read
    back as another number. Arrays of one shape share one program, since a program for all arrays would take longer to
    compile than the training step.
    """
    sums = (_weighted_sum(x, np.uint32(i)) for i, x in enumerate(jax.tree.leaves(state)))
    return sum(sums, jnp.zeros((), jnp.uint32))


@jax.jit
def _weighted_sum(x: Array, i: Array) -> Array:
    """Return the sum of the bytes of array number ``i``."""
    data = jax.lax.bitcast_convert_type(x, jnp.uint8).astype(jnp.uint32)
    weights = jnp.ones((), jnp.uint32) + 2 * i
    for axis, size in enumerate(data.shape):
        position = jnp.arange(size, dtype=jnp.uint32) * jnp.uint32(2 * (0x1E3779B1 >> axis))
        weights = weights + position.reshape((size,) + (1,) * (data.ndim - axis - 1))
    return jnp.sum(data * weights, dtype=jnp.uint32)


class Checkpoints:
    """The checkpoints of a run directory.

    Args:
      directory: ``workdir/checkpoints``, with a folder for each step.
      keep: number of the newest checkpoints to keep.
      keep_every: checkpoints at multiples of this step are kept for ever; None for none.
      read_only: whether to neither create the directory nor write to it.
    """

    def __init__(self, directory: epath.Path, keep: int = 1, keep_every: int | None = None, *, read_only: bool = False):
        self.directory = absolute(directory)  # Orbax refuses relative paths
        self._options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep, keep_period=keep_every, read_only=read_only
        )
        self._manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        handler = ocp.PyTreeCheckpointHandler(type_handler_registry=_ARRAYS)
        return ocp.CheckpointManager(self.directory, options=self._options, item_handlers={'state': handler})

    def reopen(self) -> None:
        """Start again with the files on disk after the folder was removed, along with a checkpoint that was being written."""
        self.close()
        self._manager = self._open()

    def steps(self) -> list[int]:
        """Return the steps of the complete checkpoints, in ascending order."""
        return sorted(self._manager.all_steps(read=True))

    def save(self, step: int, state: PyTree) -> None:
        """Start to write a checkpoint; return as soon as the buffers of the state may be reused.

        A folder that was removed is created again.

        Raises:
          UserError: if the disk is full or not writable; earlier checkpoints stay as they are.
        """
        tree = {'state': state, 'checksum': checksum(state)}
        with self._writing():
            if not self.directory.exists():
                self.reopen()
            self._manager.save(step, args=ocp.args.Composite(state=ocp.args.PyTreeSave(tree)), force=True)

    def wait(self) -> None:
        """Wait until the checkpoint that ``save`` started is on disk; raise the same errors."""
        with self._writing():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as e:
            reason = 'no space left' if 'RESOURCE_EXHAUSTED' in str(e) else str(e).splitlines()[0][:200]
            raise UserError(
                f'cannot write a checkpoint to {self.directory} ({reason}): fix that and start the training again; earlier '
                f'checkpoints are complete'
            ) from e

    def restore(self, step: int, template: PyTree) -> PyTree:
        """Return the state of a step.

        Args:
          step: the step of a checkpoint that exists.
          template: shapes, dtypes and shardings of the state.

        Raises:
          DamagedError: if a file is missing, cut short or changed, or the folder is named after another step.
          UserError: if the checkpoint is intact, but belongs to another model.
        """
        self._require_shapes(step, template)
        some_leaf = jax.tree.leaves(template)[0]
        tree = {'state': template, 'checksum': jax.ShapeDtypeStruct((), jnp.uint32, sharding=some_leaf.sharding)}
        try:
            args = ocp.args.PyTreeRestore(tree, restore_args=ocp.checkpoint_utils.construct_restore_args(tree))
            tree = self._manager.restore(step, args=ocp.args.Composite(state=args)).state
        except Exception as e:  # Orbax has many errors for damaged files, and tensorstore raises a bare Exception
            raise DamagedError((str(e) or type(e).__name__).splitlines()[0][:200]) from e
        if checksum(tree['state']) != tree['checksum']:
            raise DamagedError('its checksum differs')
        stored_step = int(getattr(tree['state'], 'step', step))
        if stored_step != step:
            raise DamagedError(f'it holds step {stored_step}: rename its folder to {stored_step}')
        return tree['state']

    def _require_shapes(self, step: int, template: PyTree) -> None:
        """Refuse a template whose arrays differ from those of a checkpoint in name or shape, with a clearer error than Orbax's.

        Raises:
          UserError: naming the first array that differs, with both shapes.
        """
        try:
            stored = _shapes(self._manager.item_metadata(step).state.tree['state'])
        except Exception:  # the checkpoint is damaged, which ``restore`` reports
            return
        needed = _shapes(template)
        for name in sorted(stored.keys() | needed.keys()):
            if stored.get(name) != needed.get(name):
                found, wanted = (shape_text(s[name]) if name in s else 'absent' for s in (stored, needed))
                raise UserError(
                    f'{name} is {found} in the checkpoint {self.directory / str(step)}, and {wanted} in the model of this '
                    f'config: the checkpoint is intact, so bring back the config.json with which it was trained, or pass its '
                    f'values'
                )

    def restore_newest(self, template: PyTree, report: Callable[[str], None]) -> tuple[int, PyTree] | None:
        """Return ``(step, state)`` of the newest checkpoint that is not damaged, or None if there are no checkpoints.

        Args:
          template: shapes, dtypes and shardings of the state.
          report: called with a sentence about each damaged checkpoint; ``discard_after`` moves those out of the way.

        Raises:
          UserError: if there are checkpoints and all are damaged, or one belongs to another model.
        """
        reasons = []
        for step in reversed(self.steps()):
            try:
                return step, self.restore(step, template)
            except DamagedError as e:
                report(f'checkpoint {self.directory / str(step)} is damaged ({e}); trying the one before it')
                reasons.append(f'{step}: {e}')
        if reasons:
            raise UserError(
                f'all checkpoints in {self.directory} are damaged ({reasons[0]}): bring back a copy of them, or pass '
                f'another --workdir to start again'
            )
        return None

    def discard_after(self, step: int) -> None:
        """Move the (damaged) checkpoints after ``step`` to ``damaged-<step>``, so that these steps can be saved again."""
        later_steps = [s for s in self.steps() if s > step]
        if later_steps and is_first():
            for later in later_steps:
                aside = self.directory.parent / f'damaged-{later}'
                if aside.exists():
                    aside.rmtree()
                (self.directory / str(later)).rename(aside)
        if later_steps:
            multihost_utils.sync_global_devices('discarded')
        self._manager.reload()

    def close(self) -> None:
        """End the writing thread; ``save`` and ``wait`` have already reported writes that failed."""
        with contextlib.suppress(OSError, ValueError):
            self._manager.wait_until_finished()
        with contextlib.suppress(OSError, ValueError):
            self._manager.close()


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays of a tree by their names, as in ``model.params.head.kernel``."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator='.'): tuple(x.shape) for path, x in leaves}


class DamagedError(Exception):
    """An error for a checkpoint that cannot be read back as it was written."""
