"""The mode ``benchmark``."""

from __future__ import annotations

from etils import epath

from jaxgen.apps.benchmark import table
from jaxgen.apps.benchmark.benchmark import benchmark
from jaxgen.apps.config import Config
from jaxgen.io.files import write_atomically


def run(config: Config, workdir: epath.Path) -> None:
    """Write ``benchmark.json``, and from it the table ``benchmark.md`` and the chart ``benchmark.svg``."""
    report = benchmark(config, workdir)
    text = table.markdown(report)
    write_atomically(workdir / 'benchmark.md', text.encode())
    write_atomically(workdir / 'benchmark.svg', table.chart(report).encode())
    print(text)
    print(f'all results: {workdir}/benchmark.json; the table: benchmark.md; a chart: benchmark.svg')
