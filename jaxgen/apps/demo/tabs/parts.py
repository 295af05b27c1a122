"""Parts that the tabs share: who may use the device when and for how long, the inputs of a model, and errors as sentences."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from jaxgen.apps import data
from jaxgen.apps.config import Config
from jaxgen.apps.demo import views
from jaxgen.apps.demo.engine import Progress
from jaxgen.apps.demo.inputs import GENERATOR, LARGEST_SEED, MAX_STEPS
from jaxgen.apps.demo.settings import compatible_samplers
from jaxgen.apps.serving.guard import DEVICE, JOB
from jaxgen.apps.serving.jobs import Job
from jaxgen.errors import UserError
from jaxgen.io import images
from jaxgen.methods import METHODS
from jaxgen.types import Fields

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
        if step.is_last or step.done % max(1, step.total // MAX_SHOWN) == 0:
            yield step


def progress_view(step: Progress, what: str) -> str:
    """Return the progress bar and the images as they are now, as HTML."""
    return views.progress(step.done, step.total, what) + views.picture(images.grid(step.images), f'grid: {what}')


def model_inputs(config: Config) -> Fields:
    """Return the updates of the inputs that depend on the model: classes, sampler, steps, guidance and eta."""
    classes = data.facts(config).class_names if config.model.conditional else ()
    denoises = METHODS[config.method].supports.denoises
    can_guide = bool(classes) and denoises and config.diffusion.label_dropout > 0
    timesteps = config.diffusion.timesteps if denoises else 1
    return {
        'classes': gr.Dropdown(choices=list(classes), value=[], interactive=bool(classes)),
        'sampler': gr.Dropdown(
            choices=compatible_samplers(config) if denoises else [GENERATOR],
            value=config.sample.sampler if denoises else GENERATOR,
            interactive=denoises,
        ),
        # The smallest value is 1, and the largest must be above it.
        'steps': gr.Slider(maximum=min(MAX_STEPS, max(2, timesteps)), value=min(20, timesteps), interactive=denoises),
        'guidance': gr.Slider(
            value=config.sample.guidance_scale if can_guide else 1,
            interactive=can_guide,
            info='' if can_guide else 'needs a model that was trained with label_dropout',
        ),
        'eta': gr.Slider(value=0, interactive=denoises),
    }


def seed_field() -> gr.Number:
    """Make the field for the seed."""
    return gr.Number(
        0, precision=0, minimum=0, maximum=LARGEST_SEED, label='Seed', info='the same seed, the same picture'
    )
