"""Images of a model, with the numbers that decide them, and the command that makes the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

from jaxgen.apps.demo import engine, views
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.tabs.parts import DRAWS, QUIET, options, politely, seed_field, seed_of, shown, state
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.io import images

FIRST = {'sample.num': 16, 'sample.num_steps': 20}  # what is drawn when the page is opened


@dataclasses.dataclass(frozen=True)
class Tab:
    """The inputs, and what is drawn with them."""

    workdirs: Workdirs
    model: gr.Dropdown
    inputs: dict[str, gr.components.Component]
    output: gr.HTML
    stop: gr.Button

    def on_load(self, page: gr.Blocks) -> None:
        fields = [self.model, *self.inputs.values()]
        loaded = page.load(self._first, None, [self.model, *self._of_model()], **QUIET)
        drawing = loaded.then(self.draw, fields, self.output, **DRAWS)
        self.stop.click(None, None, None, cancels=drawing, api_visibility='private')

    def _of_model(self) -> list[gr.components.Component]:
        return [self.inputs[name] for name in ('classes', 'sampler', 'steps', 'guidance', 'eta')]

    def _first(self) -> list[Any]:
        names = self.workdirs.that_draw()
        return [gr.Dropdown(choices=names, value=next(iter(names), None)), *self.chosen(next(iter(names), None))]

    def chosen(self, name: str | None) -> list[Any]:
        """Updates of the inputs that depend on the model."""
        return list(options(self.workdirs.config(name)).values()) if name else [gr.skip()] * 5

    @property
    def draw(self):
        return politely(self._draw)

    def _draw(self, name, classes, sampler, steps, guidance, eta, seed, count) -> Iterator[str]:
        if not name:
            yield views.part(views.empty('The first picture appears here when there is a model.'))
            return
        fields = {
            'seed': seed_of(seed),
            'sample.num': int(count),
            'sample.classes': ','.join(classes or ()),
            'sample.sampler': sampler,
            'sample.num_steps': int(steps),
            'sample.guidance_scale': float(guidance),
            'sample.eta': float(eta) if sampler == 'ddim' else 0.0,
        }
        model = self.workdirs.model(name)
        what = f'{count} images of {name}'
        for moment in shown(model.generate(fields)):
            result = self._result(name, model, fields, moment.images) if moment.last else ''
            yield views.part(state(moment, what), result)

    @staticmethod
    def _result(name: str, model: engine.Model, fields: dict[str, Any], drawn: np.ndarray) -> str:
        grid, arrays = images.png(images.grid(drawn)), images.npz(images=drawn)
        return (
            views.download('samples.png', grid, 'image/png', 'Download PNG')
            + views.download('samples.npz', arrays, 'application/octet-stream', 'Download npz')
            + f'<p class="small">Step {model.trained.step:,} of {name}</p>'
            + views.command(engine.command(name, 'sample', model.config, fields))
        )


def tab(workdirs: Workdirs, sessions: Sessions) -> Tab:
    with gr.Tab('Generate'), gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            model = gr.Dropdown(label='Model', choices=workdirs.that_draw())
            inputs = {
                'classes': gr.Dropdown(label='Classes', info='none: all in turn', multiselect=True),
                'sampler': gr.Dropdown(label='Sampler', choices=list(engine.SAMPLERS)),
                'steps': gr.Slider(1, 1000, 20, step=1, label='Steps'),
                'guidance': gr.Slider(1, 10, 1, step=0.1, label='Guidance', info='1: none'),
                'eta': gr.Slider(0, 1, 0, step=0.05, label='Eta', info='of ddim: how much new noise a step adds'),
                'seed': seed_field(),
                'count': gr.Slider(1, engine.MOST, FIRST['sample.num'], step=1, label='Images'),
            }
            go = gr.Button('Generate', variant='primary')
            stop = gr.Button('Stop')
        with gr.Column(scale=3, min_width=280):
            output = gr.HTML(
                views.part(views.empty('The first picture is on its way.')),
                min_height='min(740px, 165vw)',
                label='Samples',
            )
    made = Tab(workdirs, model, inputs, output, stop)
    model.input(made.chosen, model, made._of_model(), **QUIET)
    drawing = go.click(made.draw, [model, *inputs.values()], output, **DRAWS)
    stop.click(None, None, None, cancels=drawing, api_visibility='private')
    return made
