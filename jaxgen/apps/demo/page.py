"""The demo page with its tabs, and the server that serves it."""

from __future__ import annotations

import os
import tempfile
import threading

import gradio as gr
from etils import epath

from jaxgen.apps.config import Config
from jaxgen.apps.demo import views
from jaxgen.apps.demo.sessions import MAX_SESSIONS, Sessions
from jaxgen.apps.demo.tabs import compare, edit, generate, inside, status, training
from jaxgen.apps.demo.tabs.parts import QUIET
from jaxgen.apps.demo.warm_up import WarmUp
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.serving.guard import Guard
from jaxgen.apps.serving.uploads import MAX_BYTES
from jaxgen.errors import UserError
from jaxgen.runtime import progress
from jaxgen.types import Fields

FONTS: Fields = {
    'font': ['system-ui', 'sans-serif'],
    'font_mono': ['ui-monospace', 'monospace'],
}  # fonts of the system, so that none is downloaded
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
STYLE = f"""{views.STYLE} .gradio-container {{ max-width: 80rem !important; }} footer {{ display: none !important; }}
.gradio-container .app {{ padding: 1rem clamp(.5rem, 5vw - .75rem, 2rem) !important; }} .examples {{ align-items: center; }}
@media (max-width: 640px) {{ .first-on-phones {{ order: -1; }} .html-container {{ padding: 0 !important; }}
  .tab-container button {{ padding: 0 .55rem !important; }} }}"""
MISSING_WORDS = {'common.complete': 'Done'}  # read aloud when a job ends; Gradio 6.31 has no text for this key
ABOUT = (
    'Image models that were trained here make new pictures from noise: choose a model and a class, or click an example.'
)
NO_MODEL = (
    'There is no trained model yet. `make run` trains one on handwritten digits in a few minutes on two cores; '
    '`python main.py --config=configs/NAME.py` trains others. This page finds them under `runs/` when it is loaded again.'
)


def build(workdirs: Workdirs, warm_up: WarmUp) -> gr.Blocks:
    """Return the page with all tabs, which opens with the settings and the kept samples of the best model.

    Args:
      workdirs: the run directories that the page shows.
      warm_up: the compilation in the background, whose state the page shows.
    """
    sessions = Sessions()
    with gr.Blocks(title='jaxgen', analytics_enabled=False) as page:
        gr.Markdown(f'# jaxgen\n{ABOUT}')
        missing = gr.Markdown(NO_MODEL, visible=not workdirs.able_to_sample())
        line = status.make(warm_up)
        with gr.Tabs(overflow_behavior='wrap') as tabs:
            samples = generate.tab(workdirs, sessions, line)
            edits = edit.tab(workdirs, sessions, line)
            comparison = compare.tab(workdirs, sessions, line)
            curves = training.tab(workdirs, sessions)
            internals = inside.tab(workdirs, sessions)
        page.load(lambda: gr.Markdown(visible=not workdirs.able_to_sample()), None, missing, **QUIET)
        for part in (samples, edits, comparison, curves, internals, line):
            part.on_load(page)
        training.refresh_while_shown(tabs, curves)
        edits.make_when_clicked(samples.examples['dog from cat'], tabs)

        def forget(request: gr.Request) -> None:
            sessions.forget(request.session_hash)

        page.unload(forget)
    page.queue(default_concurrency_limit=8)  # the guard limits the jobs of each address
    return page


def start(config: Config, workdir: epath.Path, files: str, compiles: bool = False) -> gr.Blocks:
    """Serve the page in the background.

    Args:
      config: the config, whose section ``demo`` has the address and the limits of the page.
      workdir: the run directory of ``--workdir``.
      files: the folder in which uploads arrive.
      compiles: whether the programs of the pretrained models are compiled in the background.

    Returns:
      The page, which serves until it is closed.

    Raises:
      UserError: if a folder is not a run directory, or the port cannot be opened.
    """
    os.environ['GRADIO_TEMP_DIR'] = files
    os.environ['FORWARDED_ALLOW_IPS'] = ','.join(config.demo.proxies or ())  # the server trusts headers from these only
    workdirs = Workdirs(config, workdir)
    warm_up = WarmUp(workdirs)
    page = build(workdirs, warm_up)
    guard = Guard(page, config.demo, files)
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
            i18n=gr.I18n(en=MISSING_WORDS),
            run_history=False,
            state_session_capacity=MAX_SESSIONS,
            app_kwargs={'lifespan': guard.lifespan},
        )
    except OSError as e:
        raise UserError(
            f'config.demo.port={config.demo.port} of {config.demo.host} cannot be opened: choose another port'
        ) from e
    if compiles:
        warm_up.begin(guard.jobs)
    return page


def serve(config: Config, workdir: epath.Path) -> None:
    """Serve the page until the program is stopped.

    Raises:
      UserError: for the same reasons as ``start``.
    """
    with tempfile.TemporaryDirectory(prefix='jaxgen-demo-') as files:
        page = start(config, workdir, files, compiles=True)
        print(f'the page is at {page.local_url} (Ctrl-C ends it)', flush=True)
        try:
            with progress.hidden():
                threading.Event().wait()
        finally:
            page.close(verbose=False)
