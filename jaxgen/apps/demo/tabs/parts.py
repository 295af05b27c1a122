"""Parts that the tabs share: who may use the device when, the inputs of a model, and errors as sentences."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from jaxgen.apps.config import Config
from jaxgen.apps.demo import views
from jaxgen.apps.demo.engine import Progress
from jaxgen.apps.demo.settings import compatible_samplers
from jaxgen.data import class_names
from jaxgen.errors import UserError
from jaxgen.io import images
from jaxgen.methods import METHODS
from jaxgen.types import Fields

Update = Any  # what Gradio takes as the new value or the new properties of a component

# Visitors who sample wait for one another and are told their place; everything else is quick.
USES_DEVICE: Fields = {
    'concurrency_id': 'device',
    'concurrency_limit': 1,
    'api_visibility': 'private',
    'show_progress': 'full',
}
QUIET: Fields = {'api_visibility': 'private', 'show_progress': 'hidden'}
MAX_SHOWN = 40  # largest number of steps that a visitor is shown between the first and the last
LARGEST_SEED = 2**32 - 1


def with_error_notes(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Return a generator function that shows a UserError as a note instead of raising it."""

    @functools.wraps(function)
    def noted(*args):
        try:
            yield from function(*args)
        except UserError as e:
            yield views.note(str(e))

    return noted


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
    classes = class_names(config.data.name, config.data.classes or ()) if config.model.conditional else ()
    denoises = METHODS[config.method].supports.denoises
    can_guide = bool(classes) and denoises and config.diffusion.label_dropout > 0
    timesteps = config.diffusion.timesteps if denoises else 1
    return {
        'classes': gr.Dropdown(choices=list(classes), value=[], interactive=bool(classes)),
        'sampler': gr.Dropdown(
            choices=compatible_samplers(config) if denoises else ['generator'],
            value=config.sample.sampler if denoises else 'generator',
            interactive=denoises,
        ),
        # The smallest value is 1, and the largest must be above it.
        'steps': gr.Slider(maximum=min(1000, max(2, timesteps)), value=min(20, timesteps), interactive=denoises),
        'guidance': gr.Slider(
            value=config.sample.guidance_scale if can_guide else 1,
            interactive=can_guide,
            info='' if can_guide else 'needs a model that was trained with label_dropout',
        ),
        'eta': gr.Slider(value=0, interactive=denoises),
    }


def seed_of(value: float | None) -> int:
    """Return the seed that a number field holds; 0 if it is empty."""
    return min(max(int(value or 0), 0), LARGEST_SEED)


def seed_field() -> gr.Number:
    """Make the field for the seed."""
    return gr.Number(
        0, precision=0, minimum=0, maximum=LARGEST_SEED, label='Seed', info='the same seed, the same picture'
    )
