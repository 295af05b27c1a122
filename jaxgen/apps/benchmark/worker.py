"""Measure one variant of one case in its own process, so that the two sides share no memory, threads or caches.

``python -m jaxgen.apps.benchmark.worker SPEC.json RESULT.json``: ``processes.py`` writes the first file and reads the second.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import sys
import time

START = time.perf_counter()
MODULES = {'jaxgen': 'jaxgen.apps.benchmark.jax_side', 'pytorch': 'jaxgen.apps.benchmark.torch_side'}


def main(argv: list[str]) -> int:
    """Run the measurement that the first file describes, write its result to the second file, and return the exit code."""
    spec = json.loads(pathlib.Path(argv[1]).read_text())
    try:
        result = importlib.import_module(MODULES[spec['side']]).run(spec, START)
    except ModuleNotFoundError as e:
        result = {'missing': e.name}
    pathlib.Path(argv[2]).write_text(json.dumps(result))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
