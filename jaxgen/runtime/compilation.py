"""Compile programs, and tell before how long that took earlier on this machine."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

import jax

from jaxgen.io.files import cache_dir, parse_object, write_json
from jaxgen.runtime import memory, progress

NOT_KNOWN = 'up to a minute or two the first time, cached afterwards'
FILE = 'compile_seconds.json'  # in the cache: the first and the last time of each program in seconds, by a hash
MOST = 500  # programs in that file
WORTH_KEEPING = 2.0  # seconds; programs that take less are not kept


def compiled(what: str, lower: Callable[[], jax.stages.Lowered], *, sums_up: bool = True) -> jax.stages.Compiled:
    """Compile a program as a stage of its own; ``jaxgen.runtime.progress`` shows it.

    Where stages are shown, the time is kept in the cache and told the next time.

    Args:
      what: the program in words, as in ``the training step``.
      lower: traces the program, as ``jax.jit(f).lower`` does.
      sums_up: whether a line with the time is left.
    """
    with memory.compiling(), progress.Stage(f'compiling {what}', note=NOT_KNOWN, sums_up=sums_up) as stage:
        lowered = lower()
        if not progress.is_shown():
            return lowered.compile()
        key, times = _key(lowered), _times()
        before = times.get(key)
        if before is not None:
            stage.note = told(*before)
        program = lowered.compile()
        if stage.seconds >= WORTH_KEEPING:
            _keep(key, stage.seconds)
    return program


def told(first: float, last: float | None) -> str:
    """Say how long a program took to compile.

    Args:
      first: the time in seconds when it was compiled for the first time.
      last: the time when it was compiled last, from the cache of compiled programs; None if it was compiled once.
    """
    if last is None:
        return f'{progress.duration(first)} the first time, less now that it is cached'
    return f'about {progress.duration(last)}, as it is cached'


def _key(lowered: jax.stages.Lowered) -> str:
    device = jax.devices()[0]
    decisive = f'{jax.__version__} {device.device_kind} {jax.device_count()} {lowered.as_text()}'
    return hashlib.sha256(decisive.encode()).hexdigest()[:16]


def _times() -> dict[str, tuple[float, float | None]]:
    """Return the times of programs in seconds, as ``told`` takes them; none if the file is damaged or cannot be read."""
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
