"""Measure one variant of one case in a process of its own, so that the two sides share no memory, threads or caches.

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
    """Do what the file of the first argument says, write the result to that of the second, and return the exit code."""
    spec = json.loads(pathlib.Path(argv[1]).read_text())
    try:
        result = importlib.import_module(MODULES[spec['side']]).run(spec, START)
    except ModuleNotFoundError as e:
        result = {'missing': e.name}
    pathlib.Path(argv[2]).write_text(json.dumps(result))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
