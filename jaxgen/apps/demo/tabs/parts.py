"""Parts that the tabs share: who may use the device when and for how long, the inputs of a model, and errors as sentences."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gradio as gr

from jaxgen.apps import data
from jaxgen.apps.config import Config
from jaxgen.apps.demo import inputs, views
from jaxgen.apps.demo.engine import Model, Progress
from jaxgen.apps.demo.inputs import GENERATOR, LARGEST_SEED
from jaxgen.apps.demo.links import Linked
from jaxgen.apps.demo.settings import compatible_samplers
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.reports import words
from jaxgen.apps.serving.guard import DEVICE, JOB
from jaxgen.apps.serving.jobs import Job
from jaxgen.errors import UserError
from jaxgen.methods import METHODS
from jaxgen.types import Fields, JsonObject

Part = gr.components.Component | gr.blocks.BlockContext  # what a handler changes
Update = Any  # what Gradio takes as the new value or the new properties of a component

# Visitors who sample wait for one another and are told their place; everything else is quick. The handlers check all values
# themselves, see ``inputs.read``: Gradio's own checks let some pass, and depend on what it remembers of a visitor.
PRIVATE: Fields = {'api_visibility': 'private', 'preprocess': False}
USES_DEVICE: Fields = {**PRIVATE, 'concurrency_id': DEVICE, 'concurrency_limit': 1, 'show_progress': 'full'}
QUIET: Fields = {**PRIVATE, 'show_progress': 'hidden'}
MAX_SHOWN = 40  # largest number of steps that a visitor is shown between the first and the last


def with_error_notes(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Return a generator function that shows a UserError as a note instead of raising it."""

    @functools.wraps(function)
    def noted(*args):
        try:
            yield from function(*args)
        except UserError as e:
            yield views.note(str(e))

    return noted


def with_error_toasts(function: Callable[..., Update]) -> Callable[..., Update]:
    """Return a function that shows a UserError for some seconds instead of changing anything."""

    @functools.wraps(function)
    def noted(*args):
        try:
            return function(*args)
        except UserError as e:
            raise gr.Error(views.text(str(e)), print_exception=False) from e

    return noted


def job_of(request: gr.Request) -> Job:
    """Return the job that a visitor's request to sample has become."""
    assert request.request is not None
    return request.request.scope[JOB]


def shown_steps(steps: Iterator[Progress]) -> Iterator[Progress]:
    """Yield some of the steps, evenly spread, with the first and the last among them."""
    for step in steps:
        if step.is_last or step.compiling is not None or step.done % max(1, step.total // MAX_SHOWN) == 0:
            yield step


def progress_bar(step: Progress, what: str, model: Model) -> str:
    """Return how far a job is as HTML: compiling, or a step of all."""
    if step.compiling is None:
        return views.progress(step.done, step.total, what)
    return views.compiling(step.compiling, model.compilation.longest, what)


def progress_view(step: Progress, what: str, model: Model) -> str:
    """Return the progress bar and the images as they are now, as HTML."""
    return progress_bar(step, what, model) + views.grid(step.picture(), f'grid: {what}')


class Steps(NamedTuple):
    """The choice of a number of steps: a short list, and a field for another number that its last entry shows."""

    choice: gr.Radio
    own: gr.Number

    @classmethod
    def make(cls, info: str | None = None) -> Steps:
        """Make the two components."""
        choice = gr.Radio([*inputs.STEPS, inputs.MORE_STEPS], value=18, label='Steps', info=info, elem_classes='steps')
        own = gr.Number(20, precision=0, minimum=1, maximum=inputs.MAX_STEPS, label='Number of steps', visible=False)
        choice.input(lambda chosen: gr.Number(visible=chosen == inputs.MORE_STEPS), choice, own, **QUIET)
        return cls(choice, own)


def steps_updates(steps: int, timesteps: int, is_shown: bool = True) -> list[Update]:
    """Return updates of the two components of ``Steps``.

    Args:
      steps: the number to choose.
      timesteps: the largest number that the model can take.
      is_shown: whether the model takes steps at all.
    """
    listed = sorted({*(n for n in inputs.STEPS if n <= timesteps), *([steps] if steps <= min(timesteps, 30) else [])})
    is_own = steps not in listed
    choice = gr.Radio(
        choices=[*listed, inputs.MORE_STEPS], value=inputs.MORE_STEPS if is_own else steps, visible=is_shown
    )
    return [choice, gr.Number(value=steps, maximum=min(timesteps, inputs.MAX_STEPS), visible=is_shown and is_own)]


def model_inputs(config: Config, linked: Linked | None = None) -> Fields:
    """Return the updates of the inputs that depend on the model: classes, sampler, steps, guidance and eta.

    Inputs that a model does not have are hidden.

    Args:
      config: the config of the model.
      linked: values that a link holds, in the place of those of the config.
    """
    classes = data.facts(config).class_names if config.model.conditional else ()
    denoises = METHODS[config.method].supports.denoises
    can_guide = bool(classes) and denoises and config.diffusion.label_dropout > 0
    timesteps = config.diffusion.timesteps if denoises else 1
    samplers = compatible_samplers(config) if denoises else [GENERATOR]
    values: JsonObject = {'classes': [], 'sampler': GENERATOR, 'steps': 1, 'guidance': 1, 'eta': 0}
    if denoises:
        values |= {'sampler': config.sample.sampler, 'steps': min(config.sample.num_steps, timesteps)}
        values |= {'guidance': config.sample.guidance_scale if can_guide else 1}
    if linked is not None:
        values |= {name: getattr(linked.asked, name) for name in values.keys() & linked.given}
    choice, own = steps_updates(values['steps'], timesteps, denoises)
    return {
        'classes': gr.Dropdown(choices=list(classes), value=list(values['classes']), visible=bool(classes)),
        'sampler': gr.Dropdown(
            choices=[(words.value('sampler', name), name) for name in samplers],
            value=values['sampler'],
            visible=denoises,
        ),
        'steps': choice,
        'own_steps': own,
        'guidance': gr.Slider(value=values['guidance'], visible=can_guide),
        'eta': gr.Slider(value=values['eta'], visible=denoises and 'ddim' in samplers),
    }


def model_line(workdirs: Workdirs, name: str) -> str:
    """Return what a model is and how good it is, as HTML."""
    config, result = workdirs.config(name), workdirs.evaluation(name)
    height, width, channels = data.facts(config).image_shape
    kind = 'diffusion model' if METHODS[config.method].supports.denoises else 'GAN'
    colour = 'grey' if channels == 1 else 'colour'
    metrics = 'no metrics yet' if result is None else views.metrics_line(result)
    line = f'{kind}, {config.data.title}, {width}x{height} pixels in {colour}. {metrics}'
    return views.part(f'<p class="small">{views.text(line)}</p>')


def seed_field() -> gr.Number:
    """Make the field for the seed."""
    return gr.Number(0, precision=0, minimum=0, maximum=LARGEST_SEED, label='Seed')
