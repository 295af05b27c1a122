"""The mode ``sweep``."""

from __future__ import annotations

from etils import epath

from jaxgen.apps.config import Config
from jaxgen.apps.sweep import report
from jaxgen.apps.sweep.runs import sweep
from jaxgen.errors import check
from jaxgen.io.files import write_atomically


def run(config: Config, workdir: epath.Path) -> None:
    """Write ``sweep/report.html`` and ``sweep/results.json``, and a run directory for each run under ``sweep/``."""
    results = sweep(config, workdir)
    path = workdir / 'sweep' / 'report.html'
    write_atomically(path, report.page(results).encode())
    print(f'\n{report.lines(results)}\n\none self-contained page: {path}')
    failed = sorted({outcome.run.folder for outcome in results.failed})
    check(not failed, f'these runs failed: {", ".join(failed)}; the same command tries them again')
