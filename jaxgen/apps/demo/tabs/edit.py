"""The tab From an image: images made from one under noise of some strength or within a mask, and the way there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, cast

import gradio as gr
import numpy as np

from jaxgen.apps import data
from jaxgen.apps.config import Config
from jaxgen.apps.demo import engine, inputs, views
from jaxgen.apps.demo.sessions import Session, Sessions
from jaxgen.apps.demo.settings import can_edit, command_line
from jaxgen.apps.demo.tabs import painter
from jaxgen.apps.demo.tabs.parts import (
    QUIET,
    USES_DEVICE,
    Update,
    job_of,
    model_inputs,
    progress_view,
    seed_field,
    shown_steps,
    with_error_toasts,
)
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.serving import uploads
from jaxgen.apps.serving.jobs import Job
from jaxgen.errors import UserError, check
from jaxgen.io import images
from jaxgen.types import Fields, JsonObject

HEIGHT: Any = 'min(760px, 165vw)'  # of the images, in CSS
NO_PICTURE = 'Upload a picture, or take one of the data set.'
NOT_SEEN = 'What the network sees of it appears here.'
NO_WAY = 'The way of the images appears here.'


@dataclasses.dataclass(frozen=True)
class Tab:
    """The inputs of the tab, and the images made from the one that a visitor gives."""

    workdirs: Workdirs
    sessions: Sessions
    model: gr.Dropdown
    classes: gr.Dropdown
    steps: gr.Slider

    def on_load(self, page: gr.Blocks) -> None:
        """Choose the first model that can edit when the page is opened."""
        page.load(self._choose_first, None, [self.model, self.classes, self.steps], **QUIET)

    def choose(self, model: str | None) -> list[Update]:
        """Return updates of the inputs that depend on the model."""
        name = inputs.read(model=model).model
        if name is None:
            return [gr.skip(), gr.skip()]
        found = model_inputs(self.workdirs.config(name))
        return [found['classes'], found['steps']]

    def upload(self, file: JsonObject, model: str | None, request: gr.Request) -> tuple[str, Update]:
        """Show an upload next to what the network sees of it; its file, which Gradio describes, is deleted."""
        try:
            data = uploads.take(file['path'])
            return self._take(uploads.read_picture(data, self._shape(inputs.read(model=model).model)), request)
        except UserError as e:
            return views.note(str(e)), gr.skip()

    def take_from_data_set(self, model: str | None, split: str, number: int | None, request: gr.Request):
        """Show an image of the model's data set as if it had been uploaded."""
        try:
            asked = inputs.read(model=model, split=split, number=number)
            config, number = self._config(asked.model), asked.number or 0
            found = data.load_split(config, asked.split).images
            check(
                number < len(found),
                f'{config.data.name}:{split} has {len(found):,} images, numbered from 0: choose one of them',
            )
            return self._take(uploads.picture_of_data_set(config.data.name, split, number, found[number]), request)
        except UserError as e:
            return views.note(str(e)), gr.skip()

    def preset(self, name: str, request: gr.Request) -> Update:
        """Return the painter with one of the masks that have a name."""
        asked, picture = inputs.read(preset=name), self.sessions[request.session_hash].picture
        return painter.value(picture.seen, asked.preset) if picture else gr.skip()

    def make(
        self, model, classes, strength, steps, seed, count, painted, request: gr.Request
    ) -> Iterator[tuple[str, Update]]:
        """Yield the images as HTML after each step, and the slider over the steps."""
        session = self.sessions[request.session_hash]
        try:
            asked = inputs.read(
                model=model,
                classes=classes,
                strength=strength,
                steps=steps,
                seed=seed,
                images=count,
                mask=painted,
            )
            picture = self._picture(session, asked.model)
            yield from self._make(asked, session, picture, job_of(request))
        except UserError as e:
            yield views.note(str(e)), gr.skip()

    def _make(
        self, asked: inputs.Inputs, session: Session, picture: uploads.Picture, job: Job
    ) -> Iterator[tuple[str, Update]]:
        mask = painter.mask(asked.mask, len(picture.seen))
        fields = {
            'seed': asked.seed or 0,
            'sample.classes': asked.classes or None,
            'sample.num_steps': asked.steps,
            'edit.kind': 'image2image' if mask is None else 'inpaint',
            'edit.input': picture.source,
            'edit.mask': None if mask is None else 'mask.png',
            'edit.strength': asked.strength,
            'edit.num': asked.images,
        }
        name = cast(str, asked.model)  # ``_picture`` needs one
        model, path = self.workdirs.model(name), []
        calls = model.network_calls(fields, asked.images, asked.strength)
        job.start(calls)
        for step in shown_steps(job.paid(model.edit(fields, picture.seen, mask), calls)):
            path.append(step)
            view = progress_view(step, f'{asked.images} images from the picture')
            if not step.is_last:
                yield views.part(view), gr.skip()
                continue
            session.path = path
            result = self._result(name, model, fields, step.images, mask)
            yield views.part(view, result), gr.Slider(maximum=step.total, value=step.total)

    def after_step(self, place: int, request: gr.Request) -> str:
        """Return the images after some of the steps, as HTML."""
        path, asked = self.sessions[request.session_hash].path, inputs.read(place=place)
        if not path:
            return views.part(views.empty(NO_WAY))
        step = [step for step in path if step.done <= asked.place][-1]
        caption = f'after {step.done} of {step.total} steps'
        return views.part(views.picture(images.grid(step.images), f'the images {caption}', caption))

    def _choose_first(self) -> list[Update]:
        names = [name for name in self.workdirs.able_to_sample() if can_edit(self.workdirs.config(name))]
        first = next(iter(names), None)
        return [gr.Dropdown(choices=names, value=first), *self.choose(first)]

    def _take(self, picture: uploads.Picture, request: gr.Request) -> tuple[str, Update]:
        session = self.sessions[request.session_hash]
        session.picture, session.path = picture, []
        pictures = (
            views.picture(picture.shown, 'the picture as it was given', 'What you gave'),
            views.picture(picture.seen, 'the picture as the network sees it', 'What the network sees'),
        )
        description = f'<p role="status" class="small">{views.text(picture.description)}</p>'
        return views.part(views.pair(*pictures), description), painter.value(picture.seen, 'nothing')

    def _picture(self, session: Session, name: str | None) -> uploads.Picture:
        """Return the picture of a visitor, which must have the shape of the model."""
        if session.picture is None:
            raise UserError(NO_PICTURE)
        shape = self._shape(name)
        check(
            session.picture.seen.shape == shape,
            f'{name} sees {shape[0]}x{shape[1]} pixels in {shape[2]} channels: give it the picture again',
        )
        return session.picture

    def _config(self, name: str | None) -> Config:
        if not name:
            raise UserError('no diffusion model is here yet: train one, as `make run` does, and load this page again')
        return self.workdirs.config(name)

    def _shape(self, name: str | None) -> tuple[int, int, int]:
        return data.facts(self._config(name)).image_shape

    @staticmethod
    def _result(name: str, model: engine.Model, fields: Fields, made: np.ndarray, mask: np.ndarray | None) -> str:
        links = views.download('edited.png', images.png(images.grid(made)), 'image/png', 'Download PNG')
        links += views.download('edited.npz', images.npz(images=made), 'application/octet-stream', 'Download npz')
        if mask is not None:
            png = images.png((mask * 255).astype(np.uint8))
            links += views.download('mask.png', png, 'image/png', 'Download the mask')
        return links + views.command(command_line(name, 'edit', model.config, fields))


def tab(workdirs: Workdirs, sessions: Sessions) -> Tab:
    """Make the tab."""
    with gr.Tab('From an image'), gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            model = gr.Dropdown(label='Model', choices=[])
            file = gr.UploadButton('Upload a picture', type='filepath')
            with gr.Row():
                split = gr.Radio(['train', 'test'], value='test', label='Or of the data set')
                number = gr.Number(3, precision=0, minimum=0, label='Image number')
            take = gr.Button('Take this one')
            given = gr.HTML(
                views.part(views.pair(views.empty(NO_PICTURE), views.empty(NOT_SEEN))), min_height=260, label='Given'
            )
            classes = gr.Dropdown(label='Classes', info='to draw it as; none: all in turn', multiselect=True)
            strength = gr.Slider(0.05, 1, 0.6, step=0.05, label='Strength', info='of the noise: how much may change')
            steps = gr.Slider(1, inputs.MAX_STEPS, 20, step=1, label='Steps')
            seed = seed_field()
            count = gr.Slider(1, engine.BATCH_SIZES[-1], 4, step=1, label='Images')
            preset = gr.Dropdown(
                list(painter.PRESETS), value='nothing', label='Mask', info='what the model paints anew'
            )
            mask = painter.painter()
        with gr.Column(scale=3, min_width=280):
            go, stop = gr.Button('Make images', variant='primary'), gr.Button('Stop')
            output = gr.HTML(
                views.part(views.empty('Images made from the picture appear here.')),
                min_height=HEIGHT,
                label='Images',
            )
            step = gr.Slider(0, 20, 0, step=1, label='The way: steps done')
            way = gr.HTML(views.part(views.empty(NO_WAY)), min_height=500, label='The way')
    made = Tab(workdirs, sessions, model, classes, steps)
    model.input(with_error_toasts(made.choose), model, [classes, steps], **QUIET)
    file.upload(made.upload, [file, model], [given, mask], **QUIET)
    take.click(made.take_from_data_set, [model, split, number], [given, mask], **QUIET)
    preset.input(with_error_toasts(made.preset), preset, mask, **QUIET)
    fields = [model, classes, strength, steps, seed, count, mask]
    making = go.click(made.make, fields, [output, step], show_progress_on=output, **USES_DEVICE)
    after_step = with_error_toasts(made.after_step)
    step.change(after_step, step, way, trigger_mode='always_last', **QUIET)
    making.then(after_step, step, way, **QUIET)
    stop.click(None, None, None, cancels=making, api_visibility='private')
    return made
