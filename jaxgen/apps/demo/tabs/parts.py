"""What tabs have in common: who may use the device when, and errors as sentences."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
from ml_collections import ConfigDict

from jaxgen.apps.demo import views
from jaxgen.apps.demo.engine import Moment, samplers
from jaxgen.data import class_names
from jaxgen.errors import UserError, names
from jaxgen.io import images
from jaxgen.methods import METHODS

# Visitors who draw wait for one another, and are told their place; all else is quick.
DRAWS = {'concurrency_id': 'device', 'concurrency_limit': 1, 'api_visibility': 'private', 'show_progress': 'full'}
QUIET = {'api_visibility': 'private', 'show_progress': 'hidden'}
SHOWN = 40  # states at most between the first and the last that a visitor is shown of a drawing
LARGEST_SEED = 2**32 - 1


def politely(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """A generator whose UserError is its last output, as the sentence that it is."""

    @functools.wraps(function)
    def polite(*args):
        try:
            yield from function(*args)
        except UserError as e:
            yield views.note(str(e))

    return polite


def shown(moments: Iterator[Moment]) -> Iterator[Moment]:
    """Some of them, evenly, the first and the last among them."""
    for moment in moments:
        if moment.last or moment.done % max(1, moment.total // SHOWN) == 0:
            yield moment


def state(moment: Moment, what: str) -> str:
    """The bar, and the images as they are now."""
    return views.progress(moment.done, moment.total, what) + views.picture(images.grid(moment.images), f'grid: {what}')


def options(config: ConfigDict) -> dict[str, Any]:
    """Of the inputs ``classes``, ``sampler``, ``steps``, ``guidance``, ``eta``: what a model makes of each."""
    known = class_names(config.data.name, names(config.data.classes)) if config.model.conditional else ()
    can_guide = bool(known) and METHODS[config.family].supports.denoises and config.diffusion.label_dropout > 0
    fitting = samplers(config)
    timesteps = config.diffusion.timesteps if fitting else 1
    return {
        'classes': gr.Dropdown(choices=list(known), value=[], interactive=bool(known)),
        'sampler': gr.Dropdown(
            choices=fitting or ['generator'],
            value=config.sample.sampler if fitting else 'generator',
            interactive=bool(fitting),
        ),
        # Its minimum is 1, and a maximum must be more.
        'steps': gr.Slider(maximum=min(1000, max(2, timesteps)), value=min(20, timesteps), interactive=bool(fitting)),
        'guidance': gr.Slider(
            value=config.sample.guidance_scale if can_guide else 1,
            interactive=can_guide,
            info='' if can_guide else 'needs a model that was trained with label_dropout',
        ),
        'eta': gr.Slider(value=0, interactive=bool(fitting)),
    }


def seed_of(value: float | None) -> int:
    """Of a number field, which may be empty."""
    return min(max(int(value or 0), 0), LARGEST_SEED)


def seed_field() -> gr.Number:
    return gr.Number(
        0, precision=0, minimum=0, maximum=LARGEST_SEED, label='Seed', info='the same seed, the same picture'
    )
