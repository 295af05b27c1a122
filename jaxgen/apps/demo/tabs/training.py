"""A run's losses and figures, as they grow while it trains, and its sample grids from the first step on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from jaxgen.apps.demo import views
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.tabs.parts import QUIET
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.evaluate import during_training

SECONDS = 3  # between two looks at a run
NO_ROWS = 'This run has logged nothing yet: the first row comes after config.train.log_every steps.'
NO_GRIDS = 'This run has drawn no grid yet: one comes every config.sample.every steps.'


@dataclasses.dataclass(frozen=True)
class Tab:
    workdirs: Workdirs
    opened: gr.Tab
    run: gr.Dropdown
    metric: gr.Dropdown
    timer: gr.Timer
    outputs: list[gr.components.Component]

    def on_load(self, page: gr.Blocks) -> None:
        page.load(self._first, None, self.run, **QUIET)
        self.opened.select(self.look_anew, [self.run, self.metric], self.outputs, **QUIET)

    def _first(self) -> Any:
        names = list(self.workdirs.all())
        return gr.Dropdown(choices=names, value=next(iter(names), None))

    def look_anew(self, name: str | None, metric: str | None) -> list[Any]:
        return self.look(name, metric, None)

    def look(self, name: str | None, metric: str | None, seen: Any) -> list[Any]:
        """The curves, the metrics to choose from, the slider over the grids, and what was seen; nothing if that is all."""
        if not name:
            return [views.part(views.empty('There is no run yet.')), gr.skip(), gr.skip(), None]
        history, rows = during_training.read(self.workdirs.path(name)), self.workdirs.log(name)
        grids = self.workdirs.grids(name)
        now = [name, len(grids), len(rows), len(history)]
        if now == seen:
            return [gr.skip()] * 4
        slider = gr.skip()
        if seen is None or seen[:2] != now[:2]:
            last = max(len(grids) - 1, 0)
            slider = gr.Slider(maximum=max(last, 1), value=last, interactive=len(grids) > 1)
        known = [k for k in (rows[-1] if rows else ()) if k not in ('step', 'epoch')]
        metric = metric if metric in known else next(iter([*_losses(known), *known]), None)
        return [views.part(_curves(rows, metric), _history(history)), gr.Dropdown(known, value=metric), slider, now]

    def grid(self, name: str | None, place: float) -> str:
        """The grid at a place of the slider."""
        grids = self.workdirs.grids(name) if name else {}
        if not grids:
            return views.part(views.empty(NO_GRIDS))
        step = list(grids)[min(int(place), len(grids) - 1)]
        with Image.open(grids[step]) as image:
            pixels = np.asarray(image.convert('RGB'))
        epochs = [row['epoch'] / row['step'] for row in self.workdirs.log(name) if 'epoch' in row][:1]
        caption = f'step {step:,}' + (f', epoch {step * epochs[0]:.1f}' if epochs else '')
        return views.part(views.picture(pixels, f'samples at {caption}', caption))


def _losses(metrics: Sequence[str]) -> list[str]:
    return [name for name in metrics if name.startswith('loss')]


def _curves(rows: Sequence[dict[str, float]], metric: str | None) -> str:
    """The last row in words, all losses and, if it is none of them, a metric."""
    if not rows or metric is None:
        return f'<p role="status">{NO_ROWS}</p>'
    losses = _losses(list(rows[-1]))
    lines = {name: [(row['step'], row[name]) for row in rows if name in row] for name in {*losses, metric}}
    last = ', '.join(f'{name} {rows[-1][name]:,.4g}' for name in ('step', 'epoch', *losses) if name in rows[-1])
    charts = [views.curves({name: lines[name] for name in losses}, 'step', 'loss', 'Loss')] if losses else []
    charts += [] if metric in losses else [views.curves({metric: lines[metric]}, 'step', metric, metric)]
    return f'<p class="line" role="status">{views.text(last)}</p>{"".join(charts)}'


def _history(history: Sequence[dict[str, Any]]) -> str:
    figures = [(row['step'], row['fid']) for row in history if row.get('fid') is not None]
    return views.curves({'FID': figures}, 'step', 'FID', 'FID in training') if figures else ''


def only_while_shown(tabs: gr.Tabs, part: Tab) -> None:
    """A run is looked at again and again while its tab is open, and not otherwise."""

    def chosen(event: gr.SelectData) -> gr.Timer:
        return gr.Timer(active=event.value == 'Training')

    tabs.select(chosen, None, part.timer, **QUIET)


def tab(workdirs: Workdirs, sessions: Sessions) -> Tab:
    with gr.Tab('Training') as opened:
        with gr.Row():
            run = gr.Dropdown(label='Run', choices=list(workdirs.all()), min_width=280)
            metric = gr.Dropdown(label='Metric', choices=[], min_width=280)
        timer, seen = gr.Timer(SECONDS, active=False), gr.State()
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=280):
                curves = gr.HTML(
                    views.part(views.empty('The curves of a run appear here.')), min_height=480, label='Curves'
                )
            with gr.Column(scale=2, min_width=280):
                moment = gr.Slider(0, 1, 0, step=1, label='Sample grids, from the first to the last')
                grid = gr.HTML(
                    views.part(views.empty('Its grids appear here.')), min_height=500, label='Samples at this step'
                )
    made = Tab(workdirs, opened, run, metric, timer, [curves, metric, moment, seen])
    for field in (run, metric):
        field.input(made.look_anew, [run, metric], made.outputs, **QUIET)
    timer.tick(made.look, [run, metric, seen], made.outputs, **QUIET)
    for changed in (moment.change, run.input, opened.select):
        changed(made.grid, [run, moment], grid, trigger_mode='always_last', **QUIET)
    return made
