"""The tab Training: the curves of a run, which grow while it trains, and its grids of samples from the first on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np

from jaxgen.apps.demo import inputs, views
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.tabs.parts import QUIET, Update, choices_update, with_error_toasts
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.evaluate import during_training
from jaxgen.apps.reports import words
from jaxgen.errors import UserError
from jaxgen.io import pictures
from jaxgen.io.run_directory import points
from jaxgen.types import Fields, JsonObject

SECONDS = 3  # time between two updates
NO_ROWS = (
    'This run has no log yet. Training writes the first row after config.train.log_every steps; an exported model has no '
    'log.'
)
NO_GRIDS = 'This run has no grid of samples yet. Training writes one every config.sample.every steps.'


@dataclasses.dataclass(frozen=True)
class Tab:
    """The choice of a run and a metric, and what is shown of them.

    Attributes:
      workdirs: the run directories.
      opened: the tab; its contents are shown when it is selected.
      first: the run that was chosen when the page was built; None if there was none.
      run: the choice of the run.
      metric: the choice of the metric.
      timer: refreshes the tab while it is open.
      outputs: the curves, the choice of the metric, the slider over the grids, and what the visitor has seen.
    """

    workdirs: Workdirs
    opened: gr.Tab
    first: str | None
    run: gr.Dropdown
    metric: gr.Dropdown
    timer: gr.Timer
    outputs: list[gr.components.Component]

    def on_load(self, page: gr.Blocks) -> None:
        """Bring the list of runs up to date when the page is opened."""
        page.load(self._opened, None, self.run, **QUIET)
        self.opened.select(with_error_toasts(self.show), [self.run, self.metric], self.outputs, **QUIET)

    def show(self, name: str | None, metric: str | None) -> list[Update]:
        """Return the updates of all that the tab shows of a run; see ``refresh``."""
        return self.refresh(name, metric, None)

    def refresh(self, name: str | None, metric: str | None, seen: Any) -> list[Update]:
        """Return updates of the curves, the list of metrics, the slider over the grids, and what the visitor has seen.

        Nothing changes if the visitor has ``seen`` all that there is.
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
        """Return the grid at a position of the slider, as HTML."""
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

    def _opened(self) -> Update:
        return choices_update(_runs(self.workdirs), [self.first])


def _runs(workdirs: Workdirs) -> Fields:
    """Return the properties of the list of runs, in which the first one with a log is chosen."""
    names, titles = list(workdirs.all()), workdirs.titles()
    logged = [name for name in names if workdirs.log(name)]
    return {'choices': [(titles[name], name) for name in names], 'value': next(iter([*logged, *names]), None)}


def _losses(metrics: Sequence[str]) -> list[str]:
    return [name for name in metrics if name.startswith('loss')]


def _curves(rows: Sequence[dict[str, float]], metric: str | None) -> str:
    """Return the last row in words, a chart of all losses, and a chart of the metric, as HTML."""
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
    return f'<p class="line" role="status">{views.text(last)}</p>{views.charts(charts)}'


def _history(history: Sequence[JsonObject]) -> str:
    """Return a chart of the FID in training as HTML; empty if it was not evaluated."""
    known = points(history, 'fid')
    if not known:
        return ''
    protocol = history[-1]['protocol']
    name = words.title('fid', protocol)
    chart = views.curves({name: known}, 'training step', words.axis('fid', protocol), f'{name} in training')
    return views.charts([chart])


def refresh_while_shown(tabs: gr.Tabs, part: Tab) -> None:
    """Refresh the tab at intervals while it is open."""

    def chosen(event: gr.SelectData) -> gr.Timer:
        return gr.Timer(active=event.value == 'Training')

    tabs.select(chosen, None, part.timer, **QUIET)


def tab(workdirs: Workdirs, sessions: Sessions) -> Tab:
    """Make the tab."""
    with gr.Tab('Training') as opened:
        with gr.Row():
            runs = _runs(workdirs)
            run = gr.Dropdown(label='Run', min_width=280, **runs)
            metric = gr.Dropdown(label='Metric', choices=[], min_width=280)
        timer, seen = gr.Timer(SECONDS, active=False), gr.State()
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=280):
                curves = gr.HTML(
                    views.part(views.empty('The curves of a run appear here.')),
                    min_height=300,
                    label='Curves',
                    elem_classes='result',
                )
            with gr.Column(scale=3, min_width=280):
                place = gr.Slider(0, 1, 0, step=1, label='Sample grids, from the first to the last')
                grid = gr.HTML(
                    views.part(views.empty('The grids of samples appear here.')),
                    min_height=300,
                    label='Samples at this step',
                )
    made = Tab(workdirs, opened, runs['value'], run, metric, timer, [curves, metric, place, seen])
    for field in (run, metric):
        field.input(with_error_toasts(made.show), [run, metric], made.outputs, **QUIET)
    timer.tick(with_error_toasts(made.refresh), [run, metric, seen], made.outputs, **QUIET)
    for changed in (place.change, run.input, opened.select):
        changed(with_error_toasts(made.grid), [run, place], grid, trigger_mode='always_last', **QUIET)
    return made
