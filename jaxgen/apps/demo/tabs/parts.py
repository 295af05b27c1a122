"""Parts that the tabs share: settings of events, progress, the inputs of a model, and errors as sentences."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
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

Part = gr.components.Component | gr.blocks.BlockContext  # a component that a handler changes
Update = Any  # the new value or the new properties of a component

# Visitors who sample wait for one another and see their place in the queue; everything else is quick. The handlers check all
# values themselves with ``inputs.read``, because Gradio's checks miss some, and depend on the state of the visitor's session.
PRIVATE: Fields = {'api_visibility': 'private', 'preprocess': False}
USES_DEVICE: Fields = {**PRIVATE, 'concurrency_id': DEVICE, 'concurrency_limit': 1, 'show_progress': 'full'}
QUIET: Fields = {**PRIVATE, 'show_progress': 'hidden'}
MODEL_INPUTS = ('classes', 'sampler', 'steps', 'own_steps', 'guidance', 'eta')  # the inputs that depend on the model
NOTHING_NEW: tuple[Update, Update] = (gr.skip(), gr.skip())  # updates of a replay before the images are finished
MAX_SHOWN = 40  # largest number of steps that are shown between the first and the last


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
    """Return a function (or generator function) that shows a UserError for some seconds instead of changing anything."""

    @functools.wraps(function)
    def noted(*args):
        try:
            return function(*args)
        except UserError as e:
            raise gr.Error(views.text(str(e)), print_exception=False) from e

    @functools.wraps(function)
    def noted_steps(*args):
        try:
            yield from function(*args)
        except UserError as e:
            raise gr.Error(views.text(str(e)), print_exception=False) from e

    return noted_steps if inspect.isgeneratorfunction(function) else noted


def job_of(request: gr.Request) -> Job:
    """Return the job of a visitor's request."""
    assert request.request is not None
    return request.request.scope[JOB]


def shown_steps(steps: Iterator[Progress]) -> Iterator[Progress]:
    """Yield some of the steps, evenly spread, with the first and the last among them."""
    for step in steps:
        if step.is_last or step.compiling is not None or step.done % max(1, step.total // MAX_SHOWN) == 0:
            yield step


def progress_bar(step: Progress, what: str, model: Model) -> str:
    """Return the progress of a job as HTML: the seconds of compilation, or the number of steps."""
    if step.compiling is None:
        return views.progress(step.done, step.total, what)
    return views.compiling(step.compiling, model.compilation.longest, what)


def progress_view(step: Progress, what: str, model: Model) -> str:
    """Return the progress bar and the images after a step as HTML."""
    grid = views.grid(step.picture(), f'grid: {what}', narrow=step.picture(narrow=True))
    return progress_bar(step, what, model) + grid


class Steps(NamedTuple):
    """A choice of the number of steps: a short list, whose last entry shows a field for any number."""

    choice: gr.Radio
    own: gr.Number

    @classmethod
    def make(cls, choice_properties: Fields, own_properties: Fields, info: str | None = None) -> Steps:
        """Make the two components with properties of ``steps_properties``."""
        choice = gr.Radio(label='Steps', info=info, elem_classes='steps', **choice_properties)
        own = gr.Number(precision=0, minimum=1, label='Number of steps', **own_properties)
        choice.input(lambda chosen: gr.Number(visible=chosen == inputs.MORE_STEPS), choice, own, **QUIET)
        return cls(choice, own)


def steps_properties(steps: int, timesteps: int, is_shown: bool = True) -> tuple[Fields, Fields]:
    """Return the properties of the two components of ``Steps``.

    Args:
      steps: the number that is chosen at first.
      timesteps: the largest number of steps that the model can take.
      is_shown: whether the model takes steps at all.
    """
    listed = sorted({*(n for n in inputs.STEPS if n <= timesteps), *([steps] if steps <= min(timesteps, 30) else [])})
    is_own = steps not in listed
    choice = {
        'choices': [*listed, inputs.MORE_STEPS],
        'value': inputs.MORE_STEPS if is_own else steps,
        'visible': is_shown,
    }
    return choice, {
        'value': steps,
        'maximum': min(timesteps, inputs.MAX_STEPS),
        'visible': is_shown and is_own,
    }


def model_choices(workdirs: Workdirs, names: Sequence[str]) -> Fields:
    """Return the properties of a list of models, in which the first one is chosen."""
    return {'choices': workdirs.choices(names), 'value': next(iter(names), None)}


def choices_update(properties: Fields, chosen: Sequence[str | None]) -> Update:
    """Return the update of a list when the page is opened.

    The page is built when the server starts, and a visitor may choose before the update arrives; the choice stays.

    Args:
      properties: the choices of the list as they are now, pairs of a label and a name, and the value to choose.
      chosen: the names that were chosen when the page was built; if one of them no longer exists, the value is chosen.
    """
    names = {name for _, name in properties['choices']}
    is_there = bool(chosen) and names.issuperset(chosen)
    return gr.update(choices=properties['choices']) if is_there else gr.update(**properties)


def model_inputs(config: Config | None, linked: Linked | None = None) -> dict[str, Fields]:
    """Return the properties of the inputs that depend on the model, by their names in ``MODEL_INPUTS``.

    Inputs that a model does not have are hidden.

    Args:
      config: the config of the model; None if there is no model.
      linked: the values of a link, which replace those of the config.
    """
    if config is None:
        return {name: {'visible': False} for name in MODEL_INPUTS}
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
    choice, own = steps_properties(values['steps'], timesteps, denoises)
    return {
        'classes': {'choices': list(classes), 'value': list(values['classes']), 'visible': bool(classes)},
        'sampler': {
            'choices': [(words.value('sampler', name), name) for name in samplers],
            'value': values['sampler'],
            'visible': denoises,
        },
        'steps': choice,
        'own_steps': own,
        'guidance': {'value': values['guidance'], 'visible': can_guide},
        'eta': {'value': values['eta'], 'visible': denoises and 'ddim' in samplers},
    }


def model_line(workdirs: Workdirs, name: str) -> str:
    """Return a line about a model and its metrics as HTML."""
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
