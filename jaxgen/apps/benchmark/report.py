"""``benchmark.json``: the rows of a benchmark, and the rows of another machine to compare with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from jaxgen.apps import stored_config
from jaxgen.apps.benchmark import processor
from jaxgen.apps.benchmark.variants import PLATFORMS, Variant
from jaxgen.apps.config import Config
from jaxgen.apps.same_run import differences, flag
from jaxgen.errors import UserError, check
from jaxgen.io.files import read_object
from jaxgen.types import Fields, JsonObject

# Fields that determine the work that is timed.
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
Measured = Mapping[str, Sequence[tuple[Variant, Sequence[Fields]]]]  # by case: variants and their results


def is_measured(result: Fields) -> bool:
    """Return whether a process returned a measurement instead of the reason why it has none."""
    return 'seconds_per_unit' in result


def reason(result: Fields) -> str:
    """Return why a process returned no measurement."""
    if 'missing' in result:
        return f'{result["missing"]} is not installed'
    return result.get('refused') or f'failed: {result["failed"]}'


def summarise(variant: Variant, results: Sequence[Fields], flops: float | None) -> JsonObject:
    """Summarise the results of a variant in a row: medians over the bursts of all rounds, with the lowest and highest value.

    Args:
      variant: the variant.
      results: the results of its processes, at least one.
      flops: floating-point operations of an image; None if they are not known.

    Returns:
      ``side``, ``name``, ``precision`` and ``images_per_sec`` (median, lowest, highest), ``steps_per_sec``, ``flops_per_sec``,
      ``seconds_to_first`` of each round, ``stages`` of it if they are known, ``peak_memory`` in bytes; or the ``reason``
      why there is no measurement.
    """
    row: JsonObject = {'side': variant.side, 'name': variant.name, 'precision': variant.precision}
    first = results[0]
    if not is_measured(first):
        return row | {'reason': reason(first)}
    bursts = np.concatenate([r['seconds_per_unit'] for r in results])
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


def report(config: Config, facts: Fields, found: Measured, baseline: Fields | None) -> JsonObject:
    """Return the contents of ``benchmark.json``, from the results that each variant has so far.

    Args:
      config: the config of the benchmark.
      facts: the result of ``describe``.
      found: the variants of each case with their results.
      baseline: the result of ``read_baseline``; None if PyTorch is measured on this machine.
    """
    rows, versions = {}, dict(facts['versions'])
    measured = {case: [entry for entry in entries if entry[1]] for case, entries in found.items()}
    for case, entries in measured.items():
        per_image = facts['flops'].get(case)
        if case == 'features':
            per_image = next((r[0]['flops'] / r[0]['images'] for _, r in entries if 'flops' in r[0]), None)
        rows[case] = [summarise(variant, results, per_image) for variant, results in entries]
        for _, results in entries:
            versions |= results[0].get('versions', {})
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
        'machine': _machine(facts, versions),
        'config': config.to_tree(),
        'facts': {name: facts[name] for name in ('parameters', 'flops')},
        'rows': rows,
        'notes': notes,
    }


def _machine(facts: Fields, versions: Mapping[str, str]) -> JsonObject:
    return {
        'device': facts['device'],
        'devices': facts['devices'],
        'platform': facts['platform'],
        'cores': os.cpu_count(),
        'processor': facts['device'] if facts['platform'] != 'cpu' else processor.describe(),
        'versions': versions,
    }


def read_baseline(path: str, config: Config) -> JsonObject:
    """Return PyTorch's rows of a stored ``benchmark.json``, and its machine.

    Args:
      path: the file.
      config: the config of this benchmark.

    Raises:
      UserError: if it is not such a file, has no rows of PyTorch, or measured other work.
    """
    where = f'config.benchmark.baseline={path}'
    stored = read_object(path, 'a benchmark.json', 'name the benchmark.json of another machine', where)
    config_then = stored.get('config')
    if not isinstance(config_then, dict) or not _are_measurements(stored.get('machine'), stored.get('rows')):
        raise UserError(f'{where} is not a benchmark.json: name the benchmark.json of another machine')
    machine, rows, theirs = stored['machine'], stored['rows'], stored_config.modernised(config_then, where)
    for name, now, then in differences(config.to_tree(), theirs, WORK_FIELDS):
        raise UserError(
            f'{where} was measured with config.{name}={then!r}, and this is {now!r}: pass {flag(name, then)}'
        )
    kept = {
        case: [
            row | {'device': machine['device']} for row in of_case if row['side'] == 'pytorch' and 'reason' not in row
        ]
        for case, of_case in rows.items()
    }
    check(any(kept.values()), f'{where} has no measurement of PyTorch: name a benchmark.json that has')
    return {'machine': machine, 'rows': kept}


def _are_measurements(machine: object, rows: object) -> bool:
    """Return whether two entries of a ``benchmark.json`` are a machine and the rows of each case."""
    if not isinstance(machine, dict) or not isinstance(machine.get('device'), str) or not isinstance(rows, dict):
        return False
    listed = [row for of_case in rows.values() if isinstance(of_case, list) for row in of_case]
    return all(isinstance(of_case, list) for of_case in rows.values()) and all(
        isinstance(row, dict) and isinstance(row.get('side'), str) for row in listed
    )
