"""The page with its tabs, and the server of it."""

from __future__ import annotations

import os
import tempfile
import threading

import gradio as gr
from etils import epath

from jaxgen.apps.config import Config
from jaxgen.apps.demo import views
from jaxgen.apps.demo.sessions import MAX_SESSIONS, Sessions
from jaxgen.apps.demo.tabs import compare, edit, generate, inside, training
from jaxgen.apps.demo.tabs.parts import QUIET
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.serving.guard import Guard
from jaxgen.apps.serving.uploads import MAX_BYTES
from jaxgen.errors import UserError
from jaxgen.runtime import progress
from jaxgen.types import Fields

FONTS: Fields = {
    'font': ['system-ui', 'sans-serif'],
    'font_mono': ['ui-monospace', 'monospace'],
}  # fonts of the system: none is downloaded
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
NO_MODEL = (
    'No trained model is here yet. `make run` trains one on handwritten digits, in some minutes on two cores; or train '
    'another with `python main.py --config=configs/NAME.py`. This page finds it under `runs/` when it is loaded again.'
)


def build(workdirs: Workdirs) -> gr.Blocks:
    """Return the page with all tabs; the first samples are made as soon as it is opened."""
    sessions = Sessions()
    with gr.Blocks(title='jaxgen', analytics_enabled=False) as page:
        gr.Markdown('# jaxgen')
        missing = gr.Markdown(NO_MODEL, visible=not workdirs.able_to_sample())
        with gr.Tabs() as tabs:
            samples = generate.tab(workdirs, sessions)
            edits = edit.tab(workdirs, sessions)
            comparison = compare.tab(workdirs, sessions)
            curves = training.tab(workdirs, sessions)
            internals = inside.tab(workdirs, sessions)
        page.load(lambda: gr.Markdown(visible=not workdirs.able_to_sample()), None, missing, **QUIET)
        for part in (edits, comparison, curves, internals, samples):
            part.on_load(page)
        training.refresh_while_shown(tabs, curves)

        def forget(request: gr.Request) -> None:
            sessions.forget(request.session_hash)

        page.unload(forget)
    page.queue(default_concurrency_limit=8)  # the guard bounds how much each address may have in it
    return page


def start(config: Config, workdir: epath.Path, files: str) -> gr.Blocks:
    """Serve the page in the background.

    Args:
      config: the config, of which ``demo`` says where the page is served.
      workdir: the run directory of ``--workdir``.
      files: a folder that uploads pass through.

    Raises:
      UserError: if a folder is no run directory, or the port cannot be opened.
    """
    os.environ['GRADIO_TEMP_DIR'] = files
    os.environ['FORWARDED_ALLOW_IPS'] = ','.join(config.demo.proxies or ())  # whose headers the server believes
    workdirs = Workdirs(config, workdir)
    _compile_first(workdirs)
    page = build(workdirs)
    try:
        page.launch(
            server_name=config.demo.host,
            server_port=config.demo.port,
            theme=THEME,
            css=STYLE,
            max_file_size=MAX_BYTES,
            allowed_paths=[],
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            enable_monitoring=False,
            footer_links=[],
            run_history=False,
            state_session_capacity=MAX_SESSIONS,
            app_kwargs={'lifespan': Guard(page, config.demo, files).lifespan},
        )
    except OSError as e:
        raise UserError(
            f'config.demo.port={config.demo.port} of {config.demo.host} cannot be opened: choose another port'
        ) from e
    return page


def serve(config: Config, workdir: epath.Path) -> None:
    """Serve the page until the program is stopped.

    Raises:
      UserError: as ``start`` does.
    """
    with tempfile.TemporaryDirectory(prefix='jaxgen-demo-') as files:
        page = start(config, workdir, files)
        print(f'the page is at {page.local_url} (Ctrl-C ends it)', flush=True)
        try:
            with progress.hidden():
                threading.Event().wait()
        finally:
            page.close(verbose=False)


def _compile_first(workdirs: Workdirs) -> None:
    """Take the first step of the first model, so that the first visitor does not wait for the compiler."""
    for name in workdirs.able_to_sample()[:1]:
        try:
            with progress.Stage(f'compiling the sampler of {name}'):
                steps = workdirs.model(name).generate(generate.FIRST)
                next(steps)
                next(steps)
        except UserError as e:
            print(f'{name}: {e}', flush=True)
