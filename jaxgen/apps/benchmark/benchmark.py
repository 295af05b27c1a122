"""``--mode=benchmark``: jaxgen and PyTorch in turn, each variant in a process of its own, round after round."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

import jaxgen
from jaxgen.apps.benchmark import processor
from jaxgen.apps.benchmark.variants import CASES, PLATFORMS, Variant, variants
from jaxgen.apps.same_run import differences, flag
from jaxgen.errors import UserError, check, names, pick
from jaxgen.io.files import write_json

# What decides the work that is timed.
WORK_FIELDS = (
    'family',
    'model',
    'diffusion',
    'gan',
    'data.batch_size',
    'data.image_size',
    'data.name',
    'data.random_flip',
    'sample.batch_size',
    'sample.num_steps',
    'benchmark.precision',
)
OF_THE_TWIN = ('check', 'train', 'sample')  # cases in which PyTorch has the model's counterpart
OUT_OF_TIME = 'the time of config.benchmark.minutes is over'
CLOSE = {'highest': 1e-4, 'tensorfloat32': 1e-2}  # relative difference of first losses that rounding explains


class Bench:
    """The processes of one benchmark and the folder that they share.

    Args:
      trace: where jaxgen's variants leave profiles; empty for none.
    """

    def __init__(self, config: ConfigDict, folder: pathlib.Path, trace: str = ''):
        self._config, self._folder, self._trace = config, folder, trace
        self._stored = folder / 'config.json'
        self._stored.write_text(config.to_json())
        self._facts: dict[str, Any] = {}
        self._start_time = time.monotonic()

    def describe(self) -> dict[str, Any]:
        """See ``describe.py``.

        Raises:
          UserError: if the config cannot work on this device.
        """
        found = self._start({'side': 'jaxgen', 'case': 'describe', 'options': {'model.dtype': 'float32'}})
        if reason := found.get('refused') or found.get('failed'):
            raise UserError(reason)
        self._facts = found
        return found

    def run(self, case: str, variant: Variant) -> dict[str, Any]:
        """What ``measure`` returns, or under ``missing``, ``refused`` or ``failed`` why there is nothing.

        Raises:
          UserError: if ``config.benchmark.python`` cannot be started.
        """
        if variant.side == 'pytorch' and case in OF_THE_TWIN and 'no_twin' in self._facts:
            return {'refused': self._facts['no_twin']}
        spec = {'side': variant.side, 'case': case, 'options': variant.options, 'precision': variant.precision}
        trace = f'{self._trace}/{case}-{variant.name}'.replace(' ', '_') if self._trace else ''
        shared = {name: self._facts[name] for name in ('platform', 'image_shape', 'num_classes')}
        if self._seconds_left() == 0:
            return {'refused': OUT_OF_TIME}
        return self._start({**spec, **shared, 'trace': trace, 'xla_flags': variant.xla_flags}, self._seconds_left())

    def _seconds_left(self) -> float | None:
        """Return the seconds until ``config.benchmark.minutes`` are over, at least 0; None without that limit."""
        minutes = self._config.benchmark.minutes
        return None if minutes is None else max(0.0, self._start_time + 60 * minutes - time.monotonic())

    def _start(self, spec: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        paths = [self._folder / name for name in ('spec.json', 'result.json')]
        shared = {'config': str(self._stored), 'folder': str(self._folder / 'twin')}
        paths[0].write_text(json.dumps({**spec, **shared}))
        paths[1].unlink(missing_ok=True)
        python = sys.executable if spec['side'] == 'jaxgen' else self._config.benchmark.python or sys.executable
        root = str(pathlib.Path(jaxgen.__path__[0]).parent)
        env = os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, [root, os.environ.get('PYTHONPATH')]))}
        if flags := spec.get('xla_flags'):
            env['XLA_FLAGS'] = f'{env.get("XLA_FLAGS", "")} {flags}'.strip()
        command = [python, '-m', 'jaxgen.apps.benchmark.worker', *map(str, paths)]
        try:
            done = subprocess.run(
                command,
                env=env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            return {'failed': OUT_OF_TIME}
        except OSError as e:
            raise UserError(f'config.benchmark.python={python} cannot be started ({e.strerror})') from e
        if not paths[1].exists():
            said = done.stderr.strip().splitlines() or [f'exit status {done.returncode}']
            return {'failed': said[-1][:300]}
        return json.loads(paths[1].read_text())


def benchmark(config: ConfigDict, workdir: epath.Path) -> dict[str, Any]:
    """Runs each variant of ``config.benchmark.cases`` ``config.benchmark.rounds`` times, the two sides in turn.

    Returns:
      What ``benchmark.json`` holds, and is written after each variant: ``machine``, ``config``, ``facts`` of the model, by
      case the ``rows`` of ``summarised``, and ``notes``.

    Raises:
      UserError: if the config cannot work, or the twin does not compute what jaxgen computes.
    """
    options = config.benchmark
    baseline = read(options.baseline, config) if options.baseline else None
    with tempfile.TemporaryDirectory(prefix='jaxgen-benchmark-') as folder:
        bench = Bench(config, pathlib.Path(folder), str(workdir / 'profile') if options.trace else '')
        facts = bench.describe()
        planned = plan(config, facts)
        if any(v.side == 'pytorch' for case in OF_THE_TWIN for v in planned.get(case, ())):
            require_twin(bench.run('check', Variant('pytorch', 'check')), facts, options.precision)
        found: dict[str, list[tuple[Variant, list[dict[str, Any]]]]] = {
            c: [(v, []) for v in vs] for c, vs in planned.items()
        }
        for number in range(options.rounds):
            for case, entries in found.items():
                for variant, results in entries[:: -1 if number % 2 else 1]:
                    if results and 'seconds_per_unit' not in results[0]:
                        continue
                    found_now = bench.run(case, variant)
                    print(f'round {number + 1}: {case}, {variant.label}: {_line(found_now)}', flush=True)
                    if results and 'seconds_per_unit' not in found_now:
                        continue
                    results.append(found_now)
                    made = report(config, facts, found, baseline)
                    write_json(workdir / 'benchmark.json', made)
    return made


def plan(config: ConfigDict, facts: Mapping[str, Any]) -> dict[str, list[Variant]]:
    """The variants of each case that this machine can run and ``config.benchmark.variants`` asks for.

    The rates of matrix products, where not asked for, are of the precisions of the others alone: one that the hardware
    lacks takes minutes.

    Raises:
      UserError: if it asks for one that does not exist.
    """
    cores = len(os.sched_getaffinity(0)) if facts['platform'] == 'cpu' else 1
    every = variants(config.benchmark.steps_per_dispatch, cores)
    platform = facts['platform']
    wanted = [case for case in CASES if case in ('matmul', *names(config.benchmark.cases))]
    if config.benchmark.minutes is not None:  # time may run out, and products of matrices matter least
        wanted.sort(key='matmul'.__eq__)
    both = facts['platform'] in PLATFORMS and not config.benchmark.baseline
    sides = ('jaxgen', 'pytorch') if both else ('jaxgen',)
    known = {v.name for case in wanted for v in every[case]}
    asked = [pick(name, known, 'config.benchmark.variants:') for name in names(config.benchmark.variants)]

    def chosen(case: str) -> list[Variant]:
        of_sides = [v for v in every[case] if v.side in sides]
        if case == 'matmul' or not asked:
            return [v for v in of_sides if platform in v.platforms]
        return sorted((v for v in of_sides if v.name in asked), key=lambda v: asked.index(v.name))

    drawn = {case: chosen(case) for case in wanted}
    compared = {v.precision for case, vs in drawn.items() if case != 'matmul' for v in vs}
    drawn['matmul'] = [
        v for v in drawn['matmul'] if v.precision in compared or 'matmul' in names(config.benchmark.cases)
    ]
    return {case: vs for case, vs in drawn.items() if case != 'sample' or 'sample' in facts['flops']}


def require_twin(result: Mapping[str, Any], facts: Mapping[str, Any], precision: str) -> None:
    """Refuses to go on with a twin that has other parameters, or other losses in its first step.

    Args:
      result: of PyTorch's ``check``; without losses there is no twin to refuse.

    Raises:
      UserError: naming both numbers.
    """
    if 'losses' not in result:
        return
    check(
        result['parameters'] == facts['parameters'],
        f'the twin has {result["parameters"]} parameters and jaxgen {facts["parameters"]}: they are not the same model',
    )
    for name, ours in facts['losses'].items():
        theirs = result['losses'][name]
        check(
            abs(theirs - ours) <= CLOSE[precision] * abs(ours),
            f'{name} of the first step is {theirs} in PyTorch and {ours} in jaxgen: they are not the same model',
        )


def _line(result: Mapping[str, Any]) -> str:
    if 'seconds_per_unit' not in result:
        return _reason(result)
    unit = np.median(result['seconds_per_unit'])
    amount, what = (result['images'], 'images/s') if 'images' in result else (result['flops'] / 1e9, 'GFLOP/s')
    return f'{amount / unit:.4g} {what}, first after {result["seconds_to_first"]:.1f} s'


def _reason(result: Mapping[str, Any]) -> str:
    if 'missing' in result:
        return f'{result["missing"]} is not installed'
    return result.get('refused') or f'failed: {result["failed"]}'


def summarised(variant: Variant, results: Sequence[Mapping[str, Any]], flops: float | None) -> dict[str, Any]:
    """A row: medians over the bursts of all rounds, with the least and the most.

    Args:
      flops: of an image.

    Returns:
      ``side``, ``name``, ``precision`` and ``images_per_sec`` (median, least, most), ``steps_per_sec``, ``flops_per_sec``,
      ``seconds_to_first`` of each round, ``stages`` of it where they are known, ``peak_memory`` in bytes; or the ``reason``
      why there is nothing.
    """
    row: dict[str, Any] = {'side': variant.side, 'name': variant.name, 'precision': variant.precision}
    if 'seconds_per_unit' not in results[0]:
        return row | {'reason': _reason(results[0])}
    bursts = np.concatenate([r['seconds_per_unit'] for r in results])
    first = results[0]
    rates = {'images_per_sec': first.get('images'), 'steps_per_sec': first.get('steps')}
    rates['flops_per_sec'] = first.get('flops') or (first['images'] * flops if flops else None)
    for name, amount in rates.items():
        if amount:
            row[name] = [amount / float(f(bursts)) for f in (np.median, np.max, np.min)]
    row['seconds_to_first'] = [r['seconds_to_first'] for r in results]
    if 'stages' in first:
        row['stages'] = [r['stages'] for r in results]
    row['peak_memory'] = max(r['peak_memory'] for r in results)
    return row


def report(
    config: ConfigDict,
    facts: Mapping[str, Any],
    found: Mapping[str, Sequence[tuple[Variant, Sequence[Mapping[str, Any]]]]],
    baseline: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What ``benchmark`` returns, of the results that each variant has so far.

    Args:
      facts: of ``describe``.
      baseline: of ``read``.
    """
    rows, versions = {}, dict(facts['versions'])
    measured = {case: [entry for entry in entries if entry[1]] for case, entries in found.items()}
    for case, entries in measured.items():
        per_image = facts['flops'].get(case)
        if case == 'features':
            per_image = next((r[0]['flops'] / r[0]['images'] for _, r in entries if 'flops' in r[0]), None)
        rows[case] = [summarised(variant, results, per_image) for variant, results in entries]
        for _, results in entries:
            versions |= results[0].get('versions', {})
    machine = {
        'device': facts['device'],
        'devices': facts['devices'],
        'platform': facts['platform'],
        'cores': os.cpu_count(),
        'processor': facts['device'] if facts['platform'] != 'cpu' else processor.describe(),
        'versions': versions,
    }
    notes = [facts['no_twin']] if 'no_twin' in facts else []
    if baseline is not None:
        for case in rows:
            rows[case] += baseline['rows'].get(case, [])
        notes.append(f'PyTorch was measured on {baseline["machine"]["device"]}, jaxgen on {facts["device"]}')
    elif facts['platform'] not in PLATFORMS:
        notes.append(
            f'PyTorch has no backend for {facts["platform"]} here: pass the benchmark.json of another machine as '
            f'--config.benchmark.baseline'
        )
    return {
        'machine': machine,
        'config': json.loads(config.to_json()),
        'facts': {name: facts[name] for name in ('parameters', 'flops')},
        'rows': rows,
        'notes': notes,
    }


def read(path: str, config: ConfigDict) -> dict[str, Any]:
    """PyTorch's rows of a stored ``benchmark.json``, and its machine.

    Raises:
      UserError: if it is none, has none, or did other work.
    """
    where = f'config.benchmark.baseline={path}'
    try:
        stored = json.loads(epath.Path(path).read_text())
        machine, theirs, rows = stored['machine'], stored['config'], stored['rows']
    except OSError as e:
        raise UserError(f'{where} cannot be read ({e.strerror})') from e
    except (ValueError, KeyError, TypeError) as e:
        raise UserError(f'{where} is not a benchmark.json') from e
    for name, now, then in differences(json.loads(config.to_json()), theirs, WORK_FIELDS):
        raise UserError(
            f'{where} was measured with config.{name}={then!r}, and this is {now!r}: pass {flag(name, then)}'
        )
    kept = {
        case: [
            row | {'device': machine['device']} for row in of_case if row['side'] == 'pytorch' and 'reason' not in row
        ]
        for case, of_case in rows.items()
    }
    check(any(kept.values()), f'{where} has no figures of PyTorch')
    return {'machine': machine, 'rows': kept}
