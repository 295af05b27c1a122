"""Find changes of the mathematics that no test notices: ``python tests/mutation/run.py --minutes=60``.

Each change of ``mutations.py`` is made in a copy of the package, and the tests of the changed file run there. What has run
already is read from ``--results``, so that the program can be stopped and started again; a file that has changed since runs
again. ``--page`` writes the survivors, with their reasons in ``reasons.json``, into docs/results/mutations.md.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import fcntl
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.mutation.mutations import Mutation, mutations  # noqa: E402
from tests.mutation.page import write_page  # noqa: E402

COPIED = ('jaxgen', 'tests', 'configs', 'pyproject.toml')
SHORTEST_LIMIT = 60  # seconds that the tests of a change may take at least
# The tests of a file: those of the first pattern that it matches. Tests of its own name run before them.
METHOD_TESTS = ('tests/methods/test_randomness.py', 'tests/methods/test_training_and_sampling.py')
DIFFUSION_TESTS = ('tests/diffusion', 'tests/methods/test_ddpm_losses.py', *METHOD_TESTS)
TESTS = {
    'jaxgen/diffusion/*.py': DIFFUSION_TESTS,
    'jaxgen/diffusion/samplers/*.py': ('tests/diffusion', 'tests/methods/test_ddpm.py'),
    'jaxgen/gan/*.py': ('tests/gan', 'tests/methods/test_randomness.py', 'tests/methods/test_methods.py'),
    'jaxgen/metrics/*.py': ('tests/metrics', 'tests/apps/evaluate/test_evaluate.py'),
    'jaxgen/metrics/sets/*.py': ('tests/metrics', 'tests/apps/evaluate/test_evaluate.py'),
    'jaxgen/methods/diffusion/objective.py': DIFFUSION_TESTS,
    'jaxgen/methods/diffusion/method.py': (*METHOD_TESTS, 'tests/methods/test_ddpm.py', 'tests/training/test_step.py'),
    'jaxgen/methods/dcgan/method.py': ('tests/methods/test_randomness.py', 'tests/methods/test_methods.py'),
    'jaxgen/methods/classifier/method.py': ('tests/methods/test_classifier.py', 'tests/methods/test_randomness.py'),
    'jaxgen/training/step.py': ('tests/training/test_step.py', 'tests/methods/test_randomness.py'),
}


def arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=float, default=60, help='time after which no further change is tested')
    parser.add_argument('--per-file', type=int, default=5, help='number of changes of each file, a random choice')
    parser.add_argument('--seed', type=int, default=0, help='seed of that choice')
    parser.add_argument('--only', default='', help='part of the names of the files to change; all of them if not set')
    parser.add_argument('--results', default='runs/mutations.jsonl', help='file to which results are appended')
    parser.add_argument('--lock', help='file that is locked while tests run, on a machine that is shared')
    parser.add_argument('--survivors', action='store_true', help='test those again that survived, after a new test')
    parser.add_argument('--page', action='store_true', help='only write the page from the results')
    return parser.parse_args()


def files() -> dict[str, tuple[str, ...]]:
    """Return the tests of each file to change."""
    found: dict[str, tuple[str, ...]] = {}
    for pattern, tests in TESTS.items():
        for path in sorted(ROOT.glob(pattern)):
            if path.name != '__init__.py':
                found.setdefault(str(path.relative_to(ROOT)), tests)
    return found


def stages(name: str, tests: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the tests of a file in the groups in which they run: those of its own name first, which take little time."""
    path = pathlib.PurePath(name)
    own = str(pathlib.PurePath('tests', *path.parts[1:-1], f'test_{path.stem}.py'))
    return [(own,), tests] if (ROOT / own).exists() else [tests]


def chosen(per_file: int, seed: int, only: str) -> list[tuple[str, Mutation]]:
    """Return a random choice of the changes of each file, in which their kinds take turns; the files take turns, too."""
    rounds = []
    for name in files():
        if only in name:
            every = mutations((ROOT / name).read_text())
            random.Random(f'{seed} {name}').shuffle(every)
            seen: collections.Counter[str] = collections.Counter()
            turns = []
            for mutation in every:
                turns.append(seen[mutation.kind])
                seen[mutation.kind] += 1
            order = sorted(range(len(every)), key=lambda i, turns=turns: turns[i])  # stable: random within a turn
            rounds += [(i, name, every[at]) for i, at in enumerate(order[:per_file])]
    return [(name, mutation) for _, name, mutation in sorted(rounds, key=lambda row: row[:2])]


def read_results(path: pathlib.Path) -> dict[str, dict]:
    """Return the results of all changes so far by their identity."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {row['id']: row for row in map(json.loads, lines)}


@contextlib.contextmanager
def locked(path: str | None) -> Iterator[None]:
    """Wait for a lock, as ``flock`` does."""
    if path is None:
        yield
        return
    with open(path, 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Copy:
    """A copy of the package in which files are changed and tested.

    Args:
      folder: an empty folder.
      lock: see ``locked``.
    """

    def __init__(self, folder: pathlib.Path, lock: str | None):
        self._folder, self._lock = folder, lock
        self._limits: dict[tuple[str, ...], float] = {}
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy(source, folder / name)
        where = subprocess.run(
            [sys.executable, '-c', 'import jaxgen; print(jaxgen.__file__)'],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert pathlib.Path(where.stdout.strip()).is_relative_to(folder), f'tests would import {where.stdout}'

    def outcome(self, name: str, mutation: Mutation, stages: list[tuple[str, ...]]) -> str:
        """Return ``killed``, ``timed out`` or ``survived``, after one stage of tests or all of them."""
        path = self._folder / name
        for tests in stages:
            limit = self._limit(tests)
            before = path.read_text()
            path.write_text(mutation.source)
            try:
                code = self._run(tests, limit)[0]
            finally:
                path.write_text(before)
            if code != 0:
                return 'timed out' if code is None else 'killed'
        return 'survived'

    def _limit(self, tests: tuple[str, ...]) -> float:
        """Return three times the seconds that the tests take without a change, with which they must pass."""
        if tests not in self._limits:
            self._run(tests, None)  # compiles what later runs read
            code, seconds = self._run(tests, None)
            assert code == 0, f'without a change these tests fail: {" ".join(tests)}'
            self._limits[tests] = max(SHORTEST_LIMIT, 3 * seconds)
            print(f'{seconds:.0f} s: {" ".join(tests)}', flush=True)
        return self._limits[tests]

    def _run(self, tests: tuple[str, ...], limit: float | None) -> tuple[int | None, float]:
        """Return the exit code of pytest, None after the limit, and the seconds that it took."""
        command = [sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:cacheprovider', *tests]
        caches = {'JAX_COMPILATION_CACHE_DIR': str(self._folder / 'compiled'), 'PYTHONDONTWRITEBYTECODE': '1'}
        with locked(self._lock):
            start = time.monotonic()
            try:
                done = subprocess.run(
                    command, cwd=self._folder, env=os.environ | caches, capture_output=True, timeout=limit
                )
            except subprocess.TimeoutExpired:
                return None, time.monotonic() - start
        return done.returncode, time.monotonic() - start


def main() -> None:
    """Test changes until the time is over, and write the page if asked to."""
    options = arguments()
    results = pathlib.Path(options.results)
    if options.page:
        current = {mutation.id for name in files() for mutation in mutations((ROOT / name).read_text())}
        write_page([row for key, row in read_results(results).items() if key in current])
        return
    end = time.monotonic() + 60 * options.minutes
    done, tests = read_results(results), files()
    results.parent.mkdir(parents=True, exist_ok=True)
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory(prefix='jaxgen-mutations-') as folder:
        copy = Copy(pathlib.Path(folder).resolve(), options.lock)
        for name, mutation in chosen(options.per_file, options.seed, options.only):
            before = done.get(mutation.id, {}).get('outcome')
            if before != ('survived' if options.survivors else None):
                continue
            if time.monotonic() > end:
                break
            outcome = copy.outcome(name, mutation, stages(name, tests[name]))
            counts[outcome] += 1
            row = {
                'id': mutation.id,
                'file': name,
                'line': mutation.line,
                'mutation': mutation.text,
                'outcome': outcome,
            }
            with results.open('a') as file:
                file.write(json.dumps(row) + '\n')
            print(f'{outcome:9} {name}:{mutation.line}: {mutation.text}', flush=True)
    print(', '.join(f'{count} {outcome}' for outcome, count in counts.items()) or 'nothing is left to test')


if __name__ == '__main__':
    main()
