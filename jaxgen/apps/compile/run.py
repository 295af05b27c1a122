"""The mode ``compile``."""

from __future__ import annotations

from etils import epath

from jaxgen.apps.compile.compile import compile_for, markdown
from jaxgen.apps.config import Config
from jaxgen.io.files import write_atomically, write_json


def run(config: Config, workdir: epath.Path) -> None:
    """Write ``compile/<topology>.json``, and a ``.md`` file with the same as text."""
    report = compile_for(config)
    text = markdown(report)
    path = workdir / 'compile' / config.compile.topology.replace(':', '-')
    write_json(f'{path}.json', report)
    write_atomically(f'{path}.md', text.encode())
    print(f'{text}\nall results: {path}.json')
