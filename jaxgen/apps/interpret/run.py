"""The mode ``interpret``."""

from __future__ import annotations

from etils import epath

from jaxgen.apps import guides
from jaxgen.apps.config import Config
from jaxgen.apps.interpret import report
from jaxgen.apps.interpret.interpret import interpret, require_interpretable
from jaxgen.apps.restore import restore
from jaxgen.io.files import write_atomically
from jaxgen.io.run_directory import output_folder
from jaxgen.runtime.progress import Stage


def run(config: Config, workdir: epath.Path) -> None:
    """Write ``interpretation/``: ``report.html``, and the data behind it as ``.npz``."""
    guides.require_none(config, 'interpret')
    require_interpretable(config)
    found = interpret(restore(config, workdir), workdir)
    path = output_folder(workdir) / 'interpretation' / 'report.html'
    with Stage('drawing the page'):
        write_atomically(path, report.page(found).encode())
    print(f'one self-contained page: {path}; its data: the .npz files in the same folder')
