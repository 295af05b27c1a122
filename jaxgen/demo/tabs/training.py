"""A run's losses and figures, as they grow while it trains, and its sample grids from the first step on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from jaxgen.demo import views
from jaxgen.demo.sessions import Sessions
from jaxgen.demo.tabs.parts import QUIET
from jaxgen.demo.workdirs import Workdirs
from jaxgen.evaluation import during_training

SECONDS = 3  # between two looks at a run
NO_ROWS = 'This run has logged nothing yet: the first row comes after config.train.log_every steps.'
NO_GRIDS = 'This run has drawn no grid yet: one comes every config.sample.every steps.'


@dataclasses.dataclass(frozen=True)
class Tab:
    workdirs: Workdirs
    run: gr.Dropdown
    timer: gr.Timer
    curves: gr.HTML
    moment: gr.Slider
    seen: gr.State

    def on_load(self, page: gr.Blocks) -> None:
        page.load(self._first, None, self.run, **QUIET).then(
            self.look_anew, self.run, [self.curves, self.moment, self.seen], **QUIET
        )

    def _first(self) -> Any:
        names = list(self.workdirs.all())
        return gr.Dropdown(choices=names, value=next(iter(names), None))

    def look_anew(self, name: str | None) -> list[Any]:
        return self.look(name, None)

    def look(self, name: str | None, seen: Any) -> list[Any]:
        """The curves, the slider over the grids and what was seen; nothing where nothing is new."""
        if not name:
            return [views.empty('There is no run yet.'), gr.skip(), None]
        rows, history, grids = (
            self.workdirs.log(name),
            during_training.read(self.workdirs.path(name)),
            self.workdirs.grids(name),
        )
        now = [name, len(rows), len(history), len(grids)]
        if now == seen:
            return [gr.skip()] * 3
        slider = gr.skip()
        if seen is None or seen[-1] != len(grids) or seen[0] != name:
            slider = gr.Slider(maximum=max(len(grids) - 1, 1), value=max(len(grids) - 1, 0), interactive=len(grids) > 1)
        return [views.part(_curves(rows), _history(history)), slider, now]

    def grid(self, name: str | None, place: float) -> str:
        """The grid at a place of the slider."""
        grids = self.workdirs.grids(name) if name else {}
        if not grids:
            return views.empty(NO_GRIDS)
        step = list(grids)[min(int(place), len(grids) - 1)]
        with Image.open(grids[step]) as image:
            pixels = np.asarray(image.convert('RGB'))
        epochs = [row['epoch'] / row['step'] for row in self.workdirs.log(name) if 'epoch' in row][:1]
        caption = f'step {step:,}' + (f', epoch {step * epochs[0]:.1f}' if epochs else '')
        return views.part(views.picture(pixels, f'samples at {caption}', caption))


def _curves(rows: Sequence[dict[str, float]]) -> str:
    """Losses, the rest of the metrics one by one, and the last row in words."""
    if not rows:
        return f'<p role="status">{NO_ROWS}</p>'
    losses = {k: [(row['step'], row[k]) for row in rows if k in row] for k in rows[-1] if k.startswith('loss')}
    others = [k for k in rows[-1] if k not in losses and k not in ('step', 'epoch')]
    last = ', '.join(f'{k} {v:,.4g}' for k, v in rows[-1].items() if k in losses or k in ('step', 'epoch'))
    charts = [views.curves(losses, 'step', 'loss', 'Loss')] if losses else []
    more = [views.curves({k: [(row['step'], row[k]) for row in rows if k in row]}, 'step', k, k) for k in others]
    return (
        f'<p class="line" role="status">{views.text(last)}</p>{"".join(charts)}'
        f'<details><summary>All metrics</summary>{"".join(more)}</details>'
    )


def _history(history: Sequence[dict[str, Any]]) -> str:
    figures = [(row['step'], row['fid']) for row in history if row.get('fid') is not None]
    return views.curves({'FID': figures}, 'step', 'FID', 'FID in training') if figures else ''


def only_while_shown(tabs: gr.Tabs, part: Tab) -> None:
    """A run is looked at again and again while its tab is open, and not otherwise."""

    def chosen(event: gr.SelectData) -> gr.Timer:
        return gr.Timer(active=event.value == 'Training')

    tabs.select(chosen, None, part.timer, **QUIET)


def tab(workdirs: Workdirs, sessions: Sessions) -> Tab:
    with gr.Tab('Training'):
        run = gr.Dropdown(label='Run', choices=list(workdirs.all()))
        timer, seen = gr.Timer(SECONDS, active=False), gr.State()
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=280):
                curves = gr.HTML(views.empty('The curves of a run appear here.'), min_height=480, label='Curves')
            with gr.Column(scale=2, min_width=280):
                moment = gr.Slider(0, 1, 0, step=1, label='Sample grids, from the first to the last')
                grid = gr.HTML(views.empty(NO_GRIDS), min_height=500, label='Samples at this step')
    made = Tab(workdirs, run, timer, curves, moment, seen)
    outputs = [curves, moment, seen]
    run.input(made.look_anew, run, outputs, **QUIET).then(made.grid, [run, moment], grid, **QUIET)
    timer.tick(made.look, [run, seen], outputs, **QUIET)
    moment.change(made.grid, [run, moment], grid, trigger_mode='always_last', **QUIET)
    return made
