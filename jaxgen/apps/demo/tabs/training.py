"""The tab Training: the losses and metrics of a run as they grow while it trains, and its grids from the first step on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np

from jaxgen.apps.demo import inputs, views
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.tabs.parts import QUIET, Update, with_error_toasts
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.evaluate import during_training
from jaxgen.apps.reports import words
from jaxgen.errors import UserError
from jaxgen.io import pictures
from jaxgen.io.run_directory import points
from jaxgen.types import JsonObject

SECONDS = 3  # between two looks at a run
NO_ROWS = (
    'There is no log here. A run in training writes its first row after config.train.log_every steps; a model that was '
    'exported comes without its log.'
)
NO_GRIDS = 'There is no grid of samples here: a run in training writes one every config.sample.every steps.'


@dataclasses.dataclass(frozen=True)
class Tab:
    """The choice of a run and a metric, and what is shown of them."""

    workdirs: Workdirs
    opened: gr.Tab
    run: gr.Dropdown
    metric: gr.Dropdown
    timer: gr.Timer
    outputs: list[gr.components.Component]

    def on_load(self, page: gr.Blocks) -> None:
        """Choose the first run when the page is opened."""
        page.load(self._choose_first, None, self.run, **QUIET)
        self.opened.select(with_error_toasts(self.show), [self.run, self.metric], self.outputs, **QUIET)

    def show(self, name: str | None, metric: str | None) -> list[Update]:
        """Return all that the tab shows of a run; see ``refresh``."""
        return self.refresh(name, metric, None)

    def refresh(self, name: str | None, metric: str | None, seen: Any) -> list[Update]:
        """Return the curves, the choice of metrics, the slider over the grids, and what a visitor has now seen of the run.

        Nothing is changed if that is what the visitor has ``seen`` already.
        """
        asked = inputs.read(run=name, metric=metric)
        name, metric = asked.run, asked.metric
        if name is None:
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
        if metric not in known:
            metric = next(iter([*_losses(known), *known]), None)
        choices = [(words.title(entry), entry) for entry in known]
        return [views.part(_curves(rows, metric), _history(history)), gr.Dropdown(choices, value=metric), slider, now]

    def grid(self, name: str | None, place: int) -> str:
        """Return the grid at a place of the slider, as HTML."""
        asked = inputs.read(run=name, place=place)
        name = asked.run
        grids = self.workdirs.grids(name) if name else {}
        if name is None or not grids:
            return views.part(views.empty(NO_GRIDS))
        step = list(grids)[min(asked.place, len(grids) - 1)]
        where = str(grids[step])
        try:
            pixels = np.asarray(pictures.decode(pictures.read_file(grids[step], where), where, 3))
        except UserError as e:
            return views.note(str(e))
        epochs = [row['epoch'] / row['step'] for row in self.workdirs.log(name) if 'epoch' in row][:1]
        caption = f'step {step:,}' + (f', epoch {step * epochs[0]:.1f}' if epochs else '')
        return views.part(views.grid(pixels, f'samples at {caption}', caption))

    def _choose_first(self) -> Update:
        names = list(self.workdirs.all())
        titles, logged = self.workdirs.titles(), [name for name in names if self.workdirs.log(name)]
        return gr.Dropdown(choices=[(titles[name], name) for name in names], value=next(iter([*logged, *names]), None))


def _losses(metrics: Sequence[str]) -> list[str]:
    return [name for name in metrics if name.startswith('loss')]


def _curves(rows: Sequence[dict[str, float]], metric: str | None) -> str:
    """Return the last row in words, and charts of all losses and of a metric."""
    if not rows or metric is None:
        return f'<p role="status">{NO_ROWS}</p>'
    losses = _losses(list(rows[-1]))
    lines = {name: points(rows, name) for name in {*losses, metric}}
    last = ', '.join(f'{name} {rows[-1][name]:,.4g}' for name in ('step', 'epoch', *losses) if name in rows[-1])
    charts = []
    if losses:
        shown = {words.title(name): lines[name] for name in losses}
        charts.append(views.curves(shown, 'training step', 'training loss', 'Training loss'))
    if metric not in losses:
        title = words.title(metric)
        charts.append(views.curves({title: lines[metric]}, 'training step', words.axis(metric), title))
    return f'<p class="line" role="status">{views.text(last)}</p>{"".join(charts)}'


def _history(history: Sequence[JsonObject]) -> str:
    """Return a chart of the FID in training, if it was evaluated."""
    known = points(history, 'fid')
    if not known:
        return ''
    protocol = history[-1]['protocol']
    name = words.title('fid', protocol)
    return views.curves({name: known}, 'training step', words.axis('fid', protocol), f'{name} in training')


def refresh_while_shown(tabs: gr.Tabs, part: Tab) -> None:
    """Refresh the tab at intervals while it is open, and not otherwise."""

    def chosen(event: gr.SelectData) -> gr.Timer:
        return gr.Timer(active=event.value == 'Training')

    tabs.select(chosen, None, part.timer, **QUIET)


def tab(workdirs: Workdirs, sessions: Sessions) -> Tab:
    """Make the tab."""
    with gr.Tab('Training') as opened:
        with gr.Row():
            run = gr.Dropdown(label='Run', choices=list(workdirs.all()), min_width=280)
            metric = gr.Dropdown(label='Metric', choices=[], min_width=280)
        timer, seen = gr.Timer(SECONDS, active=False), gr.State()
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=280):
                curves = gr.HTML(
                    views.part(views.empty('The curves of a run appear here.')),
                    min_height=300,
                    label='Curves',
                    elem_classes='result',
                )
            with gr.Column(scale=2, min_width=280):
                place = gr.Slider(0, 1, 0, step=1, label='Sample grids, from the first to the last')
                grid = gr.HTML(
                    views.part(views.empty('Its grids appear here.')), min_height=300, label='Samples at this step'
                )
    made = Tab(workdirs, opened, run, metric, timer, [curves, metric, place, seen])
    for field in (run, metric):
        field.input(with_error_toasts(made.show), [run, metric], made.outputs, **QUIET)
    timer.tick(with_error_toasts(made.refresh), [run, metric, seen], made.outputs, **QUIET)
    for changed in (place.change, run.input, opened.select):
        changed(with_error_toasts(made.grid), [run, place], grid, trigger_mode='always_last', **QUIET)
    return made
