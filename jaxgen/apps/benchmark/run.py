"""The modes ``benchmark`` and ``compile``."""

from __future__ import annotations

import re

from etils import epath

from jaxgen.apps.benchmark import table
from jaxgen.apps.benchmark.benchmark import benchmark
from jaxgen.apps.benchmark.compile import compile_for, markdown
from jaxgen.apps.config import Config
from jaxgen.io.files import write_atomically, write_json


def run(config: Config, workdir: epath.Path) -> None:
    """Write ``benchmark.json``, and from it the table ``benchmark.md`` and the chart ``benchmark.svg``."""
    report = benchmark(config, workdir)
    text = table.markdown(report)
    write_atomically(workdir / 'benchmark.md', text.encode())
    write_atomically(workdir / 'benchmark.svg', table.chart(report).encode())
    print(text)
    print(f'all results: {workdir}/benchmark.json; the table: benchmark.md; a chart: benchmark.svg')


def run_compile(config: Config, workdir: epath.Path) -> None:
    """Write ``compile/<topology>.json``, and the same as text in a ``.md``."""
    report = compile_for(config)
    text = markdown(report)
    path = workdir / 'compile' / re.sub(r'\W+', '-', config.compile.topology)
    write_json(f'{path}.json', report)
    write_atomically(f'{path}.md', text.encode())
    print(f'{text}\nall results: {path}.json')
