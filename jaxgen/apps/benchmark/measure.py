"""Timing something that was prepared: seconds to its first unit of work, and of each unit in several bursts."""

from __future__ import annotations

import dataclasses
import math
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

BURST = 1.0  # seconds at least, so that waiting for the device at its end weighs little
FEWEST_BURSTS = 3
EXAMPLES = 10_000  # images of the benchmark's data set
MATRIX = {'cpu': 2048, 'accelerator': 8192}  # side of the matrices whose product is a device's rate


ATTENTION_CHANNELS, ATTENTION_HEADS = 256, 4


@dataclasses.dataclass(frozen=True)
class Subject:
    """Something to be timed.

    Attributes:
      run: does so many units of work, and returns when the device is done.
      facts: JSON values; ``images`` of a unit among them, and ``steps`` where it makes any.
      peak_memory: bytes of the device; None where that is the memory of the process.
    """

    run: Callable[[int], None]
    facts: dict[str, Any]
    peak_memory: Callable[[], int | None] = lambda: None


def measure(subject: Subject, seconds: float, start: float) -> dict[str, Any]:
    """The facts, ``seconds_to_first`` since ``start``, ``seconds_per_unit`` of each burst, ``peak_memory`` in bytes.

    Args:
      seconds: that the bursts take together, at least; 0 makes them as short as can be.
    """
    subject.run(1)
    first = time.perf_counter() - start
    before = time.perf_counter()
    subject.run(1)
    units = max(1, math.ceil(BURST / (time.perf_counter() - before))) if seconds else 1
    bursts: list[float] = []
    while len(bursts) < FEWEST_BURSTS or sum(bursts) * units < seconds:
        before = time.perf_counter()
        subject.run(units)
        bursts.append((time.perf_counter() - before) / units)
    memory = subject.peak_memory() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {'seconds_to_first': first, 'seconds_per_unit': bursts, 'peak_memory': memory, **subject.facts}


def examples(image_shape: tuple[int, int, int], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels that take as long as any others: uint8 ``[EXAMPLES, H, W, C]``, int32 ``[EXAMPLES]``."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (EXAMPLES, *image_shape), np.uint8)
    return images, rng.integers(0, num_classes, EXAMPLES).astype(np.int32)


def attention_shape(batch_size: int, tokens: int) -> tuple[int, int, int, int]:
    """Return ``[N, T, heads, channels of a head]``, N being smaller for many tokens so that all take a similar time."""
    images = max(1, batch_size * 256 // tokens)
    return images, tokens, ATTENTION_HEADS, ATTENTION_CHANNELS // ATTENTION_HEADS
