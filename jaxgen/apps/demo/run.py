"""The mode ``demo``: a page in the browser over trained models."""

from __future__ import annotations

from etils import epath

from jaxgen.apps.config import Config
from jaxgen.errors import UserError


def run(config: Config, workdir: epath.Path) -> None:
    """Serve a page over trained models until it is stopped.

    Raises:
      UserError: if Gradio is not installed.
    """
    try:
        from jaxgen.apps.demo import page
    except ModuleNotFoundError as e:
        if e.name != 'gradio':
            raise
        raise UserError('--mode=demo needs Gradio: pip install -r requirements-demo.txt') from e
    page.serve(config, workdir)
