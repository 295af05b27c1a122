"""The mode ``compare``."""

from __future__ import annotations

from etils import epath

from jaxgen.apps.compare import report
from jaxgen.apps.compare.compare import compare
from jaxgen.apps.config import Config
from jaxgen.io.files import write_atomically
from jaxgen.io.run_directory import REPORT
from jaxgen.runtime.progress import Stage


def run(config: Config, workdir: epath.Path) -> None:
    """Write ``report.html``, and the metrics of each model under ``evaluation/``."""
    comparison = compare(config, workdir)
    path = workdir / REPORT
    with Stage('drawing the page'):
        write_atomically(path, report.page(comparison).encode())
    won = report.verdict(comparison.entries)
    if won:
        print(won)
    print(f'one self-contained page: {path}')
