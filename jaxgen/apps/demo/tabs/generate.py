"""The tab Generate: samples of a model, the settings that decide them, and the command that makes the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gradio as gr
import numpy as np

from jaxgen.apps.demo import engine, inputs, views
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.settings import command_line
from jaxgen.apps.demo.tabs.parts import (
    QUIET,
    USES_DEVICE,
    Update,
    job_of,
    model_inputs,
    progress_view,
    seed_field,
    shown_steps,
    with_error_notes,
    with_error_toasts,
)
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.io import images
from jaxgen.types import Fields

HEIGHT: Any = 'min(740px, 165vw)'  # of the samples, in CSS
FIRST = {'sample.num': 16, 'sample.num_steps': 20}  # what is sampled when the page is opened


@dataclasses.dataclass(frozen=True)
class Tab:
    """The inputs of the tab, and the samples made with them."""

    workdirs: Workdirs
    model: gr.Dropdown
    fields: Mapping[str, gr.components.Component]
    output: gr.HTML
    stop: gr.Button

    def on_load(self, page: gr.Blocks) -> None:
        """Choose the first model and sample it when the page is opened."""
        fields = [self.model, *self.fields.values()]
        loaded = page.load(self._choose_first, None, [self.model, *self.of_model()], **QUIET)
        sampling = loaded.then(self.sample, fields, self.output, **USES_DEVICE)
        self.stop.click(None, None, None, cancels=sampling, api_visibility='private')

    def of_model(self) -> list[gr.components.Component]:
        """Return the inputs that depend on the model."""
        return [self.fields[name] for name in ('classes', 'sampler', 'steps', 'guidance', 'eta')]

    def choose(self, model: str | None) -> list[Update]:
        """Return updates of the inputs that depend on the model."""
        name = inputs.read(model=model).model
        return list(model_inputs(self.workdirs.config(name)).values()) if name else [gr.skip()] * 5

    @property
    def sample(self) -> Callable[..., Iterator[str]]:
        """The generator of HTML that shows the samples after each step."""
        return with_error_notes(self._sample)

    def _choose_first(self) -> list[Update]:
        names = self.workdirs.able_to_sample()
        first = next(iter(names), None)
        return [gr.Dropdown(choices=names, value=first), *self.choose(first)]

    def _sample(self, model, classes, sampler, steps, guidance, eta, seed, count, request: gr.Request) -> Iterator[str]:
        asked = inputs.read(
            model=model,
            classes=classes,
            sampler=sampler,
            steps=steps,
            guidance=guidance,
            eta=eta,
            seed=seed,
            images=count,
        )
        if asked.model is None:
            yield views.part(views.empty('The first picture appears here when there is a model.'))
            return
        fields = {
            'seed': asked.seed or 0,
            'sample.num': asked.images,
            'sample.classes': asked.classes or None,
            'sample.sampler': asked.sampler,
            'sample.num_steps': asked.steps,
            'sample.guidance_scale': asked.guidance,
            'sample.eta': asked.eta if asked.sampler == 'ddim' else 0.0,
        }
        chosen = self.workdirs.model(asked.model)
        what = f'{asked.images} images of {asked.model}'
        job, calls = job_of(request), chosen.network_calls(fields)
        job.start(calls)
        for step in shown_steps(job.paid(chosen.generate(fields), calls)):
            result = self._result(asked.model, chosen, fields, step.images) if step.is_last else ''
            yield views.part(progress_view(step, what), result)

    @staticmethod
    def _result(name: str, model: engine.Model, fields: Fields, made: np.ndarray) -> str:
        grid, arrays = images.png(images.grid(made)), images.npz(images=made)
        return (
            views.download('samples.png', grid, 'image/png', 'Download PNG')
            + views.download('samples.npz', arrays, 'application/octet-stream', 'Download npz')
            + f'<p class="small">Step {model.trained.step:,} of {views.text(name)}</p>'
            + views.command(command_line(name, 'sample', model.config, fields))
        )


def tab(workdirs: Workdirs, sessions: Sessions) -> Tab:
    """Make the tab."""
    with gr.Tab('Generate'), gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            model = gr.Dropdown(label='Model', choices=workdirs.able_to_sample())
            fields = {
                'classes': gr.Dropdown(label='Classes', info='none: all in turn', multiselect=True),
                'sampler': gr.Dropdown(label='Sampler', choices=list(SAMPLERS)),
                'steps': gr.Slider(1, inputs.MAX_STEPS, 20, step=1, label='Steps'),
                'guidance': gr.Slider(1, 10, 1, step=0.1, label='Guidance', info='1: none'),
                'eta': gr.Slider(0, 1, 0, step=0.05, label='Eta', info='of ddim: how much new noise a step adds'),
                'seed': seed_field(),
                'count': gr.Slider(1, engine.MAX_IMAGES, FIRST['sample.num'], step=1, label='Images'),
            }
            go = gr.Button('Generate', variant='primary')
            stop = gr.Button('Stop')
        with gr.Column(scale=3, min_width=280):
            output = gr.HTML(
                views.part(views.empty('The first picture is on its way.')),
                min_height=HEIGHT,
                label='Samples',
            )
    made = Tab(workdirs, model, fields, output, stop)
    model.input(with_error_toasts(made.choose), model, made.of_model(), **QUIET)
    sampling = go.click(made.sample, [model, *fields.values()], output, **USES_DEVICE)
    stop.click(None, None, None, cancels=sampling, api_visibility='private')
    return made
