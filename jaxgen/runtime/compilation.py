"""Compile programs, and show how long each took to compile earlier on this machine."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

import jax

from jaxgen.io.files import cache_dir, parse_object, write_json
from jaxgen.runtime import memory, progress

NOT_KNOWN = 'up to a minute or two the first time, cached afterwards'
FILE = 'compile_seconds.json'  # in the cache: the first and the latest compilation time of each program, by a hash
MOST = 500  # largest number of programs in that file
WORTH_KEEPING = 2.0  # seconds; the times of programs that take less are not stored


def compiled(what: str, lower: Callable[[], jax.stages.Lowered], *, sums_up: bool = True) -> jax.stages.Compiled:
    """Compile a program as a stage of its own; ``jaxgen.runtime.progress`` shows it.

    If stages are shown, the time is stored in the cache and shown at the next compilation of the same program.

    Args:
      what: the program in words, as in ``the training step``.
      lower: traces the program, as ``jax.jit(f).lower`` does.
      sums_up: whether to print a line with the time at the end.
    """
    stage = progress.Stage(f'compiling {what}', note=NOT_KNOWN, sums_up=sums_up, can_stop=False)
    with memory.compiling(), stage:
        lowered = lower()
        if not progress.is_shown():
            return lowered.compile()
        key, times = _key(lowered), _times()
        before = times.get(key)
        if before is not None:
            stage.note = expected_time(*before)
        program = lowered.compile()
        if stage.seconds >= WORTH_KEEPING:
            _keep(key, stage.seconds)
    return program


def expected_time(first: float, last: float | None) -> str:
    """Return in words how long a program takes to compile, from earlier compilations.

    Args:
      first: seconds of the first compilation.
      last: seconds of the latest compilation, which read the cache of compiled programs; None if there was only one.
    """
    if last is None:
        return f'{progress.duration(first)} the first time, less now that it is cached'
    return f'about {progress.duration(last)}, as it is cached'


def _key(lowered: jax.stages.Lowered) -> str:
    device = jax.devices()[0]
    decisive = f'{jax.__version__} {device.device_kind} {jax.device_count()} {lowered.as_text()}'
    return hashlib.sha256(decisive.encode()).hexdigest()[:16]


def _times() -> dict[str, tuple[float, float | None]]:
    """Return the first and the latest time of each program in seconds; empty if the file is damaged or cannot be read."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        stored = parse_object((cache_dir() / FILE).read_bytes())
        return {
            key: (float(row['first']), None if row['last'] is None else float(row['last']))
            for key, row in stored.items()
        }
    return {}


def _keep(key: str, seconds: float) -> None:
    times = _times()
    before = times.pop(key, None)
    times[key] = (seconds, None) if before is None else (before[0], seconds)
    rows = {name: {'first': first, 'last': last} for name, (first, last) in list(times.items())[-MOST:]}
    with contextlib.suppress(OSError):
        write_json(cache_dir() / FILE, rows)
