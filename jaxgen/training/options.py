"""The options of training itself: the sections ``train``, ``checkpoint`` and ``mesh``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from jaxgen.schema import Options, option, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions(Options):
    """The length of training, its reports, and the way in which its steps reach the devices."""

    steps: int = option(800_000, 'number of training steps', at_least=1)
    init_from: str | None = option(
        None,
        'run directory of a trained model from whose averaged weights training starts; random weights if not set',
        path=True,
    )
    log_every: int = option(100, 'steps between two lines of metrics.jsonl', at_least=1)
    steps_per_dispatch: int = option(
        1, 'steps that the devices run before the program returns to Python', at_least=1, at_most=100_000
    )
    grad_accumulation: int = option(
        1, 'micro-batches into which the batch of a step is divided, to save memory', at_least=1
    )
    profile: int | None = option(
        None, 'step from which a profile of five dispatches is written to profile/; no profile if not set', at_least=1
    )
    resident_data: bool = option(
        False, 'keep the whole data set in the memory of each device, and send only the order of its images'
    )
    deterministic: bool = option(
        False, 'on GPUs, make every run produce the same bits; otherwise sums may be taken in any order'
    )
    prng: str = option(
        'threefry2x32',
        'generator of the random numbers of training; rbg is faster on TPUs, but its bits depend on the sharding. Images are '
        'always sampled with threefry2x32',
        choices=('threefry2x32', 'rbg'),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointOptions(Options):
    """The steps at which checkpoints are written, the checkpoints that are kept, and the one that is read."""

    every: int = option(5000, 'steps between two checkpoints', at_least=1)
    keep: int = option(3, 'number of the newest checkpoints to keep', at_least=1)
    keep_every: int | None = option(
        None, 'checkpoints at multiples of this step are kept for ever; none if not set', at_least=1
    )
    restore: str = option(
        'newest',
        'checkpoint to sample and evaluate: the newest, or the best that evaluation.every found',
        choices=('newest', 'best'),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshOptions(Options):
    """The devices on which a program runs."""

    fsdp: int = option(
        1, 'devices over which each parameter is sharded; the other devices hold copies', at_least=1, at_most=100_000
    )
    distributed: bool = option(
        False, 'this process is one of several that run the same command, on a TPU pod slice or under Slurm'
    )
    cpu_devices: int | None = option(
        None,
        'number of virtual devices on a CPU; XLA_FLAGS decides if not set (one by default)',
        at_least=1,
        at_most=256,
    )
    keep_memory: bool = option(
        False, 'on CPUs, keep the memory that a step frees instead of returning it to the system'
    )


def require_micro_batches(batch_size: int, grad_accumulation: int) -> None:
    """Refuse a batch that does not divide into micro-batches.

    Raises:
      OptionError: naming data.batch_size.
    """
    require(
        batch_size % grad_accumulation == 0,
        'data.batch_size',
        f'={batch_size} does not divide into train.grad_accumulation={grad_accumulation} micro-batches',
    )


def require_devices(
    batch_size: int, grad_accumulation: int, batch_sizes: Mapping[str, int], fsdp: int, num_devices: int
) -> None:
    """Refuse batches that do not divide over the devices.

    Args:
      batch_size: images in a training step.
      grad_accumulation: micro-batches in a training step.
      batch_sizes: other numbers of images that the devices process at once, by the name of their field.
      fsdp: devices over which each parameter is sharded.
      num_devices: all devices.

    Raises:
      OptionError: naming the section and the field.
    """
    require(num_devices % fsdp == 0, 'mesh.fsdp', f'={fsdp} does not divide {num_devices} devices')
    require(
        batch_size // grad_accumulation % num_devices == 0,
        'data.batch_size',
        f'={batch_size} (in train.grad_accumulation={grad_accumulation} micro-batches) does not divide over {num_devices} '
        f'devices',
    )
    for field, size in batch_sizes.items():
        require(size % num_devices == 0, field, f'={size} does not divide over {num_devices} devices')
