"""The tab Compare: samples of several models from the same seeds, next to real images and the stored metrics."""

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
    choices_update,
    job_of,
    progress_bar,
    seed_field,
    shown_steps,
    steps_properties,
    with_error_notes,
)
from jaxgen.apps.demo.tabs.status import Status
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.reports import words
from jaxgen.errors import UserError, check, pick
from jaxgen.io import grids
from jaxgen.types import Fields, JsonObject

MAX_EACH = 20  # largest number of images of each model
NO_METRICS = (
    '<p>No metrics yet: <code>python main.py --config=WORKDIR/config.json --mode=evaluate</code> computes them.</p>'
)


class _Plan(NamedTuple):
    """A plan of how a model samples.

    Attributes:
      name: the name of its run directory.
      title: its name on the page.
      model: the model.
      fields: the values of fields of its config that the visitor set, by dotted names.
      caption: the text below its images.
      calls: the number of network calls on one image.
    """

    name: str
    title: str
    model: Model
    fields: Fields
    caption: str
    calls: int


@dataclasses.dataclass(frozen=True)
class Tab:
    """The choice of models, and their samples side by side.

    Attributes:
      workdirs: the run directories.
      first: the models that were chosen when the page was built.
      models: the choice of models.
    """

    workdirs: Workdirs
    first: list[str]
    models: gr.CheckboxGroup

    def on_load(self, page: gr.Blocks) -> None:
        """Bring the list of models up to date when the page is opened."""
        page.load(self._opened, None, self.models, **QUIET)

    def _opened(self) -> Update:
        return choices_update(first_models(self.workdirs), self.first)

    @property
    def sample(self) -> Callable[..., Iterator[str]]:
        """The generator function that yields the samples after each step as HTML."""
        return with_error_notes(self._sample)

    def _sample(self, names, seed, steps, own_steps, count, request: gr.Request) -> Iterator[str]:
        has_own = steps == inputs.OWN_STEPS
        asked = inputs.read(models=names, seed=seed, images=count)
        if not has_own:
            asked = dataclasses.replace(asked, steps=inputs.read(steps=inputs.steps_asked(steps, own_steps)).steps)
        check(asked.images <= MAX_EACH, f'images={asked.images} must be at most {MAX_EACH} of each model')
        if not all(map(self.workdirs.has_read, asked.models)):
            yield views.part(views.busy('the models', 'Reading the models ...'))
        plans = self._plans(asked, has_own)
        job = job_of(request)
        boxes: list[str] = []
        job.start(sum(plan.calls for plan in plans), f'a comparison of {len(plans)} models')
        for i, plan in enumerate(plans, 1):
            what = f'{plan.title}, {i} of {len(plans)}'
            for step in shown_steps(job.paid(plan.model.generate(plan.fields), plan.calls)):
                bar = progress_bar(step, what, plan.model)
                box = _box(step.picture(narrow=True), plan.title, plan.caption)
                yield views.part(bar, views.side([*boxes, box]))
            boxes.append(box)
        yield views.part(views.busy('real images', 'Reading the real images ...'), views.side(boxes))
        real, missing = self._real([plan.name for plan in plans], asked.images, asked.seed or 0)
        boxes += [_box(picture, title, 'held out') for title, picture in real.items()]
        notes = ''.join(f'<p class="note">{views.text(sentence)}</p>' for sentence in missing)
        yield views.part(bar, views.side(boxes), notes, self._metrics(plans))

    def _plans(self, asked: inputs.Inputs, has_own_steps: bool) -> list[_Plan]:
        """Return how each of the chosen models samples, in the order of the page.

        Args:
          asked: what the visitor asks for.
          has_own_steps: whether each model takes the number of steps of its config, instead of the same number.

        Raises:
          UserError: if no model is chosen, or one of them does not exist or cannot sample with these settings.
        """
        check(bool(asked.models), 'no model is chosen: choose one or several')
        able, plans = self.workdirs.able_to_sample(), []
        for name in asked.models:
            pick(name, able, 'the model')
        for name in (name for name in able if name in asked.models):
            model = self.workdirs.model(name)
            fields: JsonObject = {'seed': asked.seed or 0, 'sample.num': asked.images}
            if model.denoises:
                steps = model.config.sample.num_steps if has_own_steps else asked.steps
                fields['sample.num_steps'] = min(steps, model.config.diffusion.timesteps)
            caption = f'step {model.trained.step:,}, {_how(model, fields)}'
            plans.append(_Plan(name, self.workdirs.titles()[name], model, fields, caption, model.network_calls(fields)))
        return plans

    def _real(self, names: list[str], count: int, seed: int) -> tuple[dict[str, np.ndarray], list[str]]:
        """Return grids of real images of the test splits by their titles, and messages about those that cannot be read."""
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
            found[title] = grids.by_class(held_out.images[chosen][in_turn], labels[in_turn], class_names, narrow=True)
        return found, missing

    def _metrics(self, plans: list[_Plan]) -> str:
        """Return a table of the stored metrics, with notes on settings in which they differ from the images, as HTML."""
        results: dict[str, JsonObject] = {}
        notes = ''
        for plan in plans:
            found = self.workdirs.evaluations(plan.name)
            for stem, result in found.items():
                title = plan.title if len(found) == 1 else f'{plan.title}, {stem.replace("_", " ")}'
                results[title] = result
                sentence = other_settings(title, result['protocol']['generated'], plan.model.protocol(plan.fields))
                notes += f'<p class="note">{views.text(sentence)}</p>' if sentence else ''
        return notes + views.metrics_table(results) if results else NO_METRICS


def first_models(workdirs: Workdirs) -> Fields:
    """Return the properties of the list of models, in which the first two of the same data set are chosen."""
    names = workdirs.able_to_sample()
    titles = [workdirs.config(name).data.title for name in names]
    alike = [name for name, data_title in zip(names, titles, strict=True) if data_title == titles[0]]
    return {'choices': workdirs.choices(names), 'value': alike[:2]}


def other_settings(title: str, measured: Fields, shown: Fields) -> str:
    """Return a sentence about the settings in which stored metrics differ from the images shown; empty if in none.

    Args:
      title: the title of the metrics.
      measured: the settings of the metrics, which are the part ``generated`` of their protocol.
      shown: the settings of the images.
    """
    differing = [
        f'{words.setting(name)} {words.value(name, measured[name])} (images: {words.value(name, value)})'
        for name, value in shown.items()
        if name != 'network_calls' and name in measured and measured[name] != value
    ]
    if not differing:
        return ''
    return f'The metrics of {title} were measured with other settings than the images shown: {", ".join(differing)}.'


def _how(model: Model, fields: Fields) -> str:
    """Return the sampler and the steps of a model in words."""
    if not model.denoises:
        return 'one call of the generator'
    sampler = words.value('sampler', model.config.sample.sampler)
    return f'{sampler}, {fields["sample.num_steps"]} steps'


def _box(picture: np.ndarray, title: str, caption: str) -> str:
    return views.grid(picture, f'grid of images: {title}', f'{title} ({caption})')


def tab(workdirs: Workdirs, sessions: Sessions, status: Status) -> Tab:
    """Make the tab."""
    with gr.Tab('Compare'):
        with gr.Row():
            first = first_models(workdirs)
            models = gr.CheckboxGroup(label='Models', min_width=280, **first)
            with gr.Column(min_width=280):
                seed = seed_field()
                choice, own = steps_properties(inputs.STEPS[-2], inputs.MAX_STEPS)
                own_or_number = {'choices': [inputs.OWN_STEPS, *choice['choices']], 'value': inputs.OWN_STEPS}
                steps = Steps.make({**choice, **own_or_number}, own, 'for diffusion models')
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
    made = Tab(workdirs, first['value'], models)
    asked = [models, seed, steps.choice, steps.own, count]
    status.watch(go)
    sampling = go.click(made.sample, asked, output, scroll_to_output=True, **USES_DEVICE)
    stop.click(None, None, None, cancels=sampling, api_visibility='private')
    return made
