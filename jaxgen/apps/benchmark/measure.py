"""Measure prepared work: the seconds until its first unit is done, and the seconds of a unit in each of several bursts."""

from __future__ import annotations

import dataclasses
import math
import resource
import time
from collections.abc import Callable

import numpy as np

from jaxgen.types import JsonObject

BURST = 1.0  # minimum length of a burst in seconds, so that waiting for the device at its end weighs little
FEWEST_BURSTS = 3
EXAMPLES = 10_000  # images of the benchmark's data set
MATRIX = {'cpu': 2048, 'accelerator': 8192}  # side of the matrices whose product measures the rate of a device
ATTENTION_CHANNELS, ATTENTION_HEADS = 256, 4


@dataclasses.dataclass(frozen=True)
class Subject:
    """A piece of work to be measured.

    Attributes:
      run: does a number of units of work, and returns when the device is done.
      facts: JSON values that include the ``images`` of a unit, and its ``steps`` if it has any.
      peak_memory: returns the peak memory of the device in bytes, or None, which stands for the memory of the process.
    """

    run: Callable[[int], None]
    facts: JsonObject
    peak_memory: Callable[[], int | None] = lambda: None


def measure(subject: Subject, seconds: float, start: float) -> JsonObject:
    """Measure a subject.

    Args:
      subject: the work to measure.
      seconds: minimum time that all bursts take together; 0 makes them as short as possible.
      start: the value of ``time.perf_counter`` when the process began.

    Returns:
      The facts of the subject, ``seconds_to_first`` since ``start``, ``seconds_per_unit`` of each burst, and
      ``peak_memory`` in bytes.
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
    """Return random images and labels, which take as much time as real ones.

    Args:
      image_shape: height, width and channels.
      num_classes: number of classes.

    Returns:
      uint8 ``[EXAMPLES, H, W, C]`` and int32 ``[EXAMPLES]``.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (EXAMPLES, *image_shape), np.uint8)
    return images, rng.integers(0, num_classes, EXAMPLES).astype(np.int32)


def attention_shape(batch_size: int, tokens: int) -> tuple[int, int, int, int]:
    """Return the shape of the inputs of attention.

    Args:
      batch_size: number of images if each has 256 tokens.
      tokens: number of tokens of an image.

    Returns:
      ``[N, tokens, heads, channels of a head]``; N falls as the number of tokens rises, so that all take a similar time.
    """
    images = max(1, batch_size * 256 // tokens)
    return images, tokens, ATTENTION_HEADS, ATTENTION_CHANNELS // ATTENTION_HEADS
