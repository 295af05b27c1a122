"""``--mode=benchmark``: measure jaxgen and PyTorch in turn, each variant in its own process, round after round."""

from __future__ import annotations

import os
import pathlib
import tempfile

import numpy as np
from etils import epath

from jaxgen.apps.benchmark.processes import TWIN_CASES, Bench
from jaxgen.apps.benchmark.report import is_measured, read_baseline, reason, report
from jaxgen.apps.benchmark.variants import CASES, PLATFORMS, Variant, variants
from jaxgen.apps.config import Config
from jaxgen.errors import check, pick
from jaxgen.io.files import write_json
from jaxgen.types import Fields, JsonObject

CLOSE = {
    'highest': 1e-4,
    'tensorfloat32': 1e-2,
}  # largest relative difference of the first losses that rounding can explain


def benchmark(config: Config, workdir: epath.Path) -> JsonObject:
    """Run each variant of ``config.benchmark.cases`` ``config.benchmark.rounds`` times, the two sides in turn.

    Args:
      config: the config of the benchmark.
      workdir: the run directory, in which ``benchmark.json`` is written after each variant.

    Returns:
      The contents of ``benchmark.json``: ``machine``, ``config``, ``facts`` of the model, the ``rows`` of ``summarise`` by case,
      and ``notes``.

    Raises:
      UserError: if the config cannot work, or the twin does not compute what jaxgen computes.
    """
    options = config.benchmark
    baseline = None if options.baseline is None else read_baseline(options.baseline, config)
    made: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix='jaxgen-benchmark-') as folder:
        bench = Bench(config, pathlib.Path(folder), str(workdir / 'profile') if options.trace else None)
        facts = bench.describe()
        planned = plan(config, facts)
        if any(v.side == 'pytorch' for case in TWIN_CASES for v in planned.get(case, ())):
            require_twin(bench.run('check', Variant('pytorch', 'check')), facts, options.precision)
        found: dict[str, list[tuple[Variant, list[JsonObject]]]] = {
            case: [(variant, []) for variant in of_case] for case, of_case in planned.items()
        }
        for number in range(options.rounds):
            for case, entries in found.items():
                for variant, results in entries[:: -1 if number % 2 else 1]:
                    if results and not is_measured(results[0]):
                        continue
                    result = bench.run(case, variant)
                    print(f'round {number + 1}: {case}, {variant.label}: {_line(result)}', flush=True)
                    if results and not is_measured(result):
                        continue
                    results.append(result)
                    made = report(config, facts, found, baseline)
                    write_json(workdir / 'benchmark.json', made)
    return made


def plan(config: Config, facts: Fields) -> dict[str, list[Variant]]:
    """Return the variants of each case that this machine can run and ``config.benchmark.variants`` asks for.

    Unless ``config.benchmark.cases`` asks for matrix products, they are measured only in the precisions of the other variants,
    because a precision that the hardware lacks takes minutes.

    Args:
      config: the config of the benchmark.
      facts: the result of ``describe``.

    Raises:
      UserError: if ``config.benchmark.variants`` names a variant that does not exist.
    """
    options, platform = config.benchmark, facts['platform']
    cores = len(os.sched_getaffinity(0)) if platform == 'cpu' else 1
    every = variants(options.steps_per_dispatch, cores)
    wanted = [case for case in CASES if case in ('matmul', *options.cases)]
    if options.minutes is not None:  # the time may run out, and matrix products matter least
        wanted.sort(key='matmul'.__eq__)
    sides = ('jaxgen', 'pytorch') if platform in PLATFORMS and options.baseline is None else ('jaxgen',)
    known = {v.name for case in wanted for v in every[case]}
    names = [pick(name, known, 'config.benchmark.variants:') for name in options.variants or ()]

    def chosen(case: str) -> list[Variant]:
        of_sides = [v for v in every[case] if v.side in sides]
        if case == 'matmul' or not names:
            return [v for v in of_sides if platform in v.platforms]
        return sorted((v for v in of_sides if v.name in names), key=lambda v: names.index(v.name))

    planned = {case: chosen(case) for case in wanted}
    compared = {v.precision for case, of_case in planned.items() if case != 'matmul' for v in of_case}
    planned['matmul'] = [v for v in planned['matmul'] if v.precision in compared or 'matmul' in options.cases]
    return {case: of_case for case, of_case in planned.items() if case != 'sample' or 'sample' in facts['flops']}


def require_twin(result: Fields, facts: Fields, precision: str) -> None:
    """Refuse a twin that differs from jaxgen's model in the number of parameters or in the losses of its first step.

    Args:
      result: the result of PyTorch's ``check``; if it has no losses, there is no twin to check.
      facts: the result of ``describe``.
      precision: ``config.benchmark.precision``.

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


def _line(result: Fields) -> str:
    if not is_measured(result):
        return reason(result)
    unit = np.median(result['seconds_per_unit'])
    amount, what = (result['images'], 'images/s') if 'images' in result else (result['flops'] / 1e9, 'GFLOP/s')
    return f'{amount / unit:.4g} {what}, time to first result {result["seconds_to_first"]:.1f} s'
