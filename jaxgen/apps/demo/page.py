"""The page: its tabs, what they share, and how it is served."""

from __future__ import annotations

import os
import tempfile
import threading

import gradio as gr
from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps.demo import views
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.tabs import compare, edit, generate, inside, training
from jaxgen.apps.demo.tabs.parts import QUIET
from jaxgen.apps.demo.uploads import LARGEST_FILE
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.errors import UserError

FONTS = {'font': ['system-ui', 'sans-serif'], 'font_mono': ['ui-monospace', 'monospace']}  # none is fetched
CONTRAST = {
    'block_info_text_color': '*neutral_600',
    'block_info_text_color_dark': '*neutral_300',
    'block_title_text_color': '*neutral_800',
    'block_title_text_color_dark': '*neutral_100',
    'body_text_color_subdued': '*neutral_600',
    'body_text_color_subdued_dark': '*neutral_300',
    'button_primary_background_fill': '*primary_600',
    'button_primary_background_fill_dark': '*primary_600',
    'button_primary_background_fill_hover': '*primary_700',
    'button_primary_background_fill_hover_dark': '*primary_700',
}
THEME = gr.themes.Default(primary_hue='blue', **FONTS).set(**CONTRAST)
STYLE = f'{views.STYLE} .gradio-container {{ max-width: 80rem !important; }} footer {{ display: none !important; }}'
EMPTY = (
    'No trained model is here yet. `make run` trains one on handwritten digits, in some minutes on two cores; or train '
    'another with `python main.py --config=configs/NAME.py`. This page finds it under `runs/` when it is loaded again.'
)


def build(workdirs: Workdirs) -> gr.Blocks:
    """All tabs; the first picture is drawn as soon as the page is there."""
    sessions = Sessions()
    with gr.Blocks(title='jaxgen', analytics_enabled=False, delete_cache=(60, 60)) as page:
        gr.Markdown('# jaxgen')
        missing = gr.Markdown(EMPTY, visible=not workdirs.that_draw())
        with gr.Tabs() as tabs:
            parts = [tab(workdirs, sessions) for tab in (generate.tab, edit.tab, compare.tab, training.tab, inside.tab)]
        drawing = parts[0]
        page.load(lambda: gr.Markdown(visible=not workdirs.that_draw()), None, missing, **QUIET)
        for part in parts[1:]:
            part.on_load(page)
        drawing.on_load(page)
        training.only_while_shown(tabs, parts[3])

        def forget(request: gr.Request) -> None:
            sessions.forget(request.session_hash)

        page.unload(forget)
    page.queue(default_concurrency_limit=8, max_size=64)
    return page


def start(config: ConfigDict, workdir: epath.Path, files: str) -> gr.Blocks:
    """Serves the page in the background; what is uploaded passes through the folder ``files``.

    Raises:
      UserError: if a workdir is none, or the port is taken.
    """
    os.environ['GRADIO_TEMP_DIR'] = files
    workdirs = Workdirs(config, workdir)
    _compile_first(workdirs)
    page = build(workdirs)
    try:
        page.launch(
            server_name=config.demo.host,
            server_port=config.demo.port,
            theme=THEME,
            css=STYLE,
            max_file_size=LARGEST_FILE,
            allowed_paths=[],
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            enable_monitoring=False,
            footer_links=[],
        )
    except OSError as e:
        raise UserError(
            f'config.demo.port={config.demo.port} of {config.demo.host} cannot be opened: choose another'
        ) from e
    return page


def serve(config: ConfigDict, workdir: epath.Path) -> None:
    """Until it is stopped.

    Raises:
      UserError: as ``start``.
    """
    with tempfile.TemporaryDirectory(prefix='jaxgen-demo-') as files:
        page = start(config, workdir, files)
        print(f'the page is at {page.local_url} (Ctrl-C ends it)', flush=True)
        try:
            threading.Event().wait()
        finally:
            page.close(verbose=False)


def _compile_first(workdirs: Workdirs) -> None:
    """So that the first visitor does not wait for the compiler."""
    for name in workdirs.that_draw()[:1]:
        print(f'{name}: compiling its sampler', flush=True)
        try:
            moments = workdirs.model(name).generate(generate.FIRST)
            next(moments)
            next(moments)
        except UserError as e:
            print(f'{name}: {e}', flush=True)
