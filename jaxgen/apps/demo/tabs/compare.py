"""The tab Compare: models side by side from the same seeds, next to real images, with the metrics measured of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import gradio as gr
import numpy as np

from jaxgen.apps import data
from jaxgen.apps.data import load_split
from jaxgen.apps.demo import inputs, views
from jaxgen.apps.demo.engine import Model
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.tabs.parts import (
    QUIET,
    USES_DEVICE,
    Steps,
    Update,
    job_of,
    progress_bar,
    seed_field,
    shown_steps,
    with_error_notes,
)
from jaxgen.apps.demo.tabs.status import Status
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.errors import UserError, check, pick
from jaxgen.io import grids
from jaxgen.types import Fields

MAX_EACH = 20  # largest number of images of each model
NO_METRICS = (
    '<p>No metrics yet: <code>python main.py --config=WORKDIR/config.json --mode=evaluate</code> computes them.</p>'
)


class _Plan(NamedTuple):
    """How a model samples: its name and title, the fields that are set, the words below its images, and its network calls."""

    name: str
    title: str
    model: Model
    fields: Fields
    caption: str
    calls: int


@dataclasses.dataclass(frozen=True)
class Tab:
    """The choice of models, and their samples side by side."""

    workdirs: Workdirs
    models: gr.CheckboxGroup

    def on_load(self, page: gr.Blocks) -> None:
        """Choose the first models when the page is opened."""
        page.load(self.choose_first, None, self.models, **QUIET)

    def choose_first(self) -> Update:
        """Choose the first model, and the next one of the same data."""
        names = self.workdirs.able_to_sample()
        titles = [self.workdirs.config(name).data.title for name in names]
        alike = [name for name, data_title in zip(names, titles, strict=True) if data_title == titles[0]]
        return gr.CheckboxGroup(choices=self.workdirs.choices(names), value=alike[:2])

    @property
    def sample(self) -> Callable[..., Iterator[str]]:
        """The generator of HTML that shows the samples after each step."""
        return with_error_notes(self._sample)

    def _sample(self, names, seed, steps, own_steps, count, request: gr.Request) -> Iterator[str]:
        asked = inputs.read(models=names, seed=seed, steps=inputs.steps_asked(steps, own_steps), images=count)
        check(asked.images <= MAX_EACH, f'images={asked.images} must be at most {MAX_EACH} of each model')
        plans = self._plans(asked)
        job = job_of(request)
        boxes: list[str] = []
        job.start(sum(plan.calls for plan in plans), f'a comparison of {len(plans)} models')
        for i, plan in enumerate(plans, 1):
            what = f'{plan.title}, {i} of {len(plans)}'
            for step in shown_steps(job.paid(plan.model.generate(plan.fields), plan.calls)):
                bar = progress_bar(step, what, plan.model)
                box = _box(step.picture(), plan.title, plan.caption)
                yield views.part(bar, views.side([*boxes, box]))
            boxes.append(box)
        chosen = [plan.name for plan in plans]
        real, missing = self._real(chosen, asked.images, asked.seed or 0)
        boxes += [_box(picture, title, 'held out') for title, picture in real.items()]
        notes = ''.join(f'<p class="note">{views.text(sentence)}</p>' for sentence in missing)
        yield views.part(bar, views.side(boxes), notes, self._metrics(chosen))

    def _plans(self, asked: inputs.Inputs) -> list[_Plan]:
        """Return how each of the chosen models samples, in the order of the page.

        Raises:
          UserError: if none is chosen, or one does not exist or cannot sample what is asked for.
        """
        check(bool(asked.models), 'no model is chosen: choose one or several')
        able, plans = self.workdirs.able_to_sample(), []
        for name in asked.models:
            pick(name, able, 'the model')
        for name in (name for name in able if name in asked.models):
            model = self.workdirs.model(name)
            timesteps = model.config.diffusion.timesteps if model.denoises else asked.steps
            fields = {
                'seed': asked.seed or 0,
                'sample.num': asked.images,
                'sample.num_steps': min(asked.steps, timesteps),
            }
            caption = f'step {model.trained.step:,}, {_how(model, fields)}'
            plans.append(_Plan(name, self.workdirs.titles()[name], model, fields, caption, model.network_calls(fields)))
        return plans

    def _real(self, names: list[str], count: int, seed: int) -> tuple[dict[str, np.ndarray], list[str]]:
        """Return images of the test splits of the models' data, and why some are missing."""
        found, missing = {}, []
        for config in map(self.workdirs.config, names):
            title = f'real images of {config.data.title}'
            if title in found:
                continue
            try:
                held_out = load_split(config, 'test')
            except UserError as e:
                missing.append(f'{title}: {e}')
                continue
            num = len(held_out.images)
            chosen = np.random.default_rng(seed).choice(num, min(count, num), replace=False)
            labels = held_out.labels[chosen]
            in_turn = np.argsort(labels, kind='stable')
            class_names = data.facts(config).class_names
            found[title] = grids.by_class(held_out.images[chosen][in_turn], labels[in_turn], class_names)
        return found, missing

    def _metrics(self, names: list[str]) -> str:
        titles, results = self.workdirs.titles(), {}
        for name in names:
            found = self.workdirs.evaluations(name)
            for stem, result in found.items():
                results[titles[name] if len(found) == 1 else f'{titles[name]}, {stem.replace("_", " ")}'] = result
        return views.metrics_table(results) if results else NO_METRICS


def _how(model: Model, fields: Fields) -> str:
    """Say how a model samples."""
    if not model.denoises:
        return 'one call of the generator'
    return f'{model.config.sample.sampler}, {fields["sample.num_steps"]} steps'


def _box(picture: np.ndarray, title: str, caption: str) -> str:
    return views.grid(picture, f'grid of images: {title}', f'{title} ({caption})')


def tab(workdirs: Workdirs, sessions: Sessions, status: Status) -> Tab:
    """Make the tab."""
    with gr.Tab('Compare'):
        with gr.Row():
            models = gr.CheckboxGroup([], label='Models', min_width=280)
            with gr.Column(min_width=280):
                seed = seed_field()
                steps = Steps.make('of diffusion models')
                count = gr.Slider(1, MAX_EACH, MAX_EACH, step=1, label='Images of each')
        with gr.Row():
            go = gr.Button('Compare', variant='primary', scale=3, min_width=120)
            stop = gr.Button('Stop', min_width=80)
        output = gr.HTML(
            views.part(views.empty('The models appear here side by side.')),
            min_height=300,
            label='Comparison',
            elem_classes='result',
        )
    made = Tab(workdirs, models)
    asked = [models, seed, steps.choice, steps.own, count]
    status.watch(go)
    sampling = go.click(made.sample, asked, output, scroll_to_output=True, **USES_DEVICE)
    stop.click(None, None, None, cancels=sampling, api_visibility='private')
    return made
