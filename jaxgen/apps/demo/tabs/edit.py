"""The tab "From an image": new images from a noisy version of a given one, or new content within a mask."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import cast

import gradio as gr
import numpy as np

from jaxgen.apps import data
from jaxgen.apps.config import Config
from jaxgen.apps.demo import engine, inputs, views
from jaxgen.apps.demo.engine import Progress
from jaxgen.apps.demo.links import Linked
from jaxgen.apps.demo.sessions import Session, Sessions
from jaxgen.apps.demo.settings import can_edit, command_line
from jaxgen.apps.demo.tabs import examples, painter, replay
from jaxgen.apps.demo.tabs.parts import (
    NOTHING_NEW,
    QUIET,
    USES_DEVICE,
    Part,
    Steps,
    Update,
    choices_update,
    job_of,
    model_choices,
    model_inputs,
    progress_view,
    seed_field,
    shown_steps,
    with_error_toasts,
)
from jaxgen.apps.demo.tabs.status import Status
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.serving import uploads
from jaxgen.errors import UserError, check
from jaxgen.io import images
from jaxgen.types import Fields, JsonObject

GO = 'make-images'  # identifier of the button
NO_PICTURE = 'Upload a picture, or take one from the data set.'
NOT_SEEN = 'The part of it that the network sees appears here.'
DOG_STRENGTH = 0.5  # strength of the edit in the example that turns a cat into a dog


@dataclasses.dataclass(frozen=True)
class Tab:
    """The inputs of the tab, and the functions that make images from a visitor's picture.

    Attributes:
      workdirs: the run directories.
      sessions: the sessions of all visitors.
      first: the model that was chosen when the page was built; None if there was none.
      model: the choice of the model.
      fields: the other inputs, by their names.
      given: the picture that was given, the painter over it, and the box of the painter.
      replay: the steps from noise to the images.
    """

    workdirs: Workdirs
    sessions: Sessions
    first: str | None
    model: gr.Dropdown
    fields: Mapping[str, gr.components.Component]
    given: list[Part]
    replay: replay.Replay

    def on_load(self, page: gr.Blocks) -> None:
        """Bring the list of models up to date when the page is opened."""
        page.load(self._opened, None, [self.model, *self.of_model()], **QUIET)

    def of_model(self) -> list[Part]:
        """Return the components that depend on the model."""
        return [self.fields['classes'], self.fields['steps'], self.fields['own_steps'], *self.given]

    def choose(self, model: str | None, request: gr.Request) -> list[Update]:
        """Return updates of the components that depend on the model; the example picture is shown at its image size."""
        return self._choose(inputs.read(model=model).model, request)

    def choose_example(self, request: gr.Request) -> list[Update]:
        """Return the updates for the example: of the model, of what depends on it, and of the strength of the noise."""
        name = examples.model_of(self.workdirs, 'dog from cat')
        self.sessions[request.session_hash].picture = None
        asked = inputs.read(model=name, classes=(examples.EXAMPLES['dog from cat'].class_name,))
        chosen = self._choose(name, request, Linked(asked, frozenset(('classes',))))
        return [gr.Dropdown(value=name), *chosen, gr.Slider(value=DOG_STRENGTH)]

    def make_when_clicked(self, button: gr.Button, tabs: gr.Tabs) -> None:
        """Show the tab, choose the example and make its images when a button is clicked."""
        chosen = button.click(lambda: gr.Tabs(selected='edit'), None, tabs, **QUIET)
        outputs = [self.model, *self.of_model(), self.fields['strength']]
        chosen.then(with_error_toasts(self.choose_example), None, outputs, **QUIET).then(
            None, None, None, js=f"() => document.getElementById('{GO}').click()"
        )

    def upload(self, file: JsonObject, model: str | None, request: gr.Request) -> list[Update]:
        """Show an uploaded picture next to what the network sees of it, and delete its file; Gradio describes it in ``file``."""
        try:
            data = uploads.take(file['path'])
            return self._take(uploads.read_picture(data, self._shape(inputs.read(model=model).model)), request)
        except UserError as e:
            return [views.note(str(e)), gr.skip(), gr.skip()]

    def take_from_data_set(
        self, model: str | None, split: str, number: int | None, request: gr.Request
    ) -> list[Update]:
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
            return [views.note(str(e)), gr.skip(), gr.skip()]

    def preset(self, name: str, model: str | None, request: gr.Request) -> Update:
        """Return the value of the painter with one of the named masks."""
        asked = inputs.read(preset=name, model=model)
        picture = self._given(self.sessions[request.session_hash], asked.model)
        return painter.value(picture.seen, asked.preset)

    def make(
        self, model, classes, strength, steps, own_steps, seed, count, painted, request: gr.Request
    ) -> Iterator[tuple[Update, ...]]:
        """Yield the images as HTML after each step, and the updates of the replay."""
        session = self.sessions[request.session_hash]
        try:
            asked = inputs.read(
                model=model,
                classes=classes,
                strength=strength,
                steps=inputs.steps_asked(steps, own_steps),
                seed=seed,
                images=count,
                mask=painted,
            )
            picture = self._picture(session, asked.model)
            yield from self._make(asked, picture, request)
        except UserError as e:
            yield views.note(str(e)), *NOTHING_NEW

    def _make(
        self, asked: inputs.Inputs, picture: uploads.Picture, request: gr.Request
    ) -> Iterator[tuple[Update, ...]]:
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
        name = cast(str, asked.model)  # ``_picture`` has checked that there is one
        if not self.workdirs.has_read(name):
            title = self.workdirs.titles().get(name, name)
            yield views.part(views.busy('the model', f'Reading the model {title} ...')), *NOTHING_NEW
        model = self.workdirs.model(name)
        way: list[Progress] = []
        job, calls = job_of(request), model.network_calls(fields, asked.images, asked.strength)
        what = f'{asked.images} images from the picture'
        job.start(calls, what)
        for step in shown_steps(job.paid(model.edit(fields, picture.seen, mask), calls)):
            replay.record(way, step)
            view = progress_view(step, what, model)
            if not step.is_last:
                yield views.part(view), *NOTHING_NEW
                continue
            yield views.part(view, self._result(name, model, fields, step, mask)), *self.replay.keep(way, request)

    def _opened(self, request: gr.Request) -> list[Update]:
        """Return the update of the list of models; the other inputs change only if the first model no longer exists."""
        names = _able_to_edit(self.workdirs)
        update = choices_update(model_choices(self.workdirs, names), [self.first])
        others = [gr.skip()] * len(self.of_model())
        if names and self.first not in names:
            others = self._choose(names[0], request)
        return [update, *others]

    def _choose(self, name: str | None, request: gr.Request, linked: Linked | None = None) -> list[Update]:
        if name is None:
            return [gr.skip()] * len(self.of_model())
        found = model_inputs(self.workdirs.config(name), linked)
        given = [gr.skip()] * len(self.given)
        session = self.sessions[request.session_hash]
        if session.picture is None:
            given = _given_updates(self._given(session, name))
        return [*(gr.update(**found[field]) for field in ('classes', 'steps', 'own_steps')), *given]

    def _take(self, picture: uploads.Picture, request: gr.Request) -> list[Update]:
        """Remember the picture that a visitor gave, and return the updates of ``given``."""
        self.sessions[request.session_hash].picture = picture
        return _given_updates(picture)

    def _given(self, session: Session, name: str | None) -> uploads.Picture:
        """Return the picture that a visitor gave, or else the example picture as the model sees it."""
        return session.picture or _example(self._shape(name))

    def _picture(self, session: Session, name: str | None) -> uploads.Picture:
        """Return the picture to start from, which must have the shape of the model."""
        picture, shape = self._given(session, name), self._shape(name)
        check(
            picture.seen.shape == shape,
            f'{name} takes {shape[0]}x{shape[1]} pixels with {shape[2]} channels: upload the picture again to convert it',
        )
        return picture

    def _config(self, name: str | None) -> Config:
        if not name:
            raise UserError(
                'there is no diffusion model yet: train one, for example with `make run`, and load this page again'
            )
        return self.workdirs.config(name)

    def _shape(self, name: str | None) -> tuple[int, int, int]:
        return data.facts(self._config(name)).image_shape

    @staticmethod
    def _result(name: str, model: engine.Model, fields: Fields, made: Progress, mask: np.ndarray | None) -> str:
        links = views.download('edited.png', images.png(made.picture()), 'image/png', 'Download PNG')
        links += views.download(
            'edited.npz', images.npz(images=made.images), 'application/octet-stream', 'Download npz'
        )
        if mask is not None:
            png = images.png((mask * 255).astype(np.uint8))
            links += views.download('mask.png', png, 'image/png', 'Download the mask')
        return links + views.command(command_line(name, 'edit', model.config, fields))


def _able_to_edit(workdirs: Workdirs) -> list[str]:
    return [name for name in workdirs.able_to_sample() if can_edit(workdirs.config(name))]


def _example(shape: tuple[int, int, int]) -> uploads.Picture:
    """Return the example picture as a model with images of a shape sees it."""
    seen = uploads.read_picture(examples.CAT.read_bytes(), shape)
    return dataclasses.replace(seen, description=f'An example: {seen.description}', source=examples.CAT_SOURCE)


def _given_view(picture: uploads.Picture) -> str:
    """Return a picture next to what the network sees of it, as HTML."""
    pictures = (
        views.picture(picture.shown, 'the picture as it was given', 'What you gave'),
        views.picture(picture.seen, 'the picture as the network sees it', 'What the network sees'),
    )
    description = f'<p role="status" class="small">{views.text(picture.description)}</p>'
    return views.part(views.pair(*pictures), description)


def _given_updates(picture: uploads.Picture) -> list[Update]:
    return [_given_view(picture), painter.value(picture.seen, 'nothing'), gr.Accordion(visible=True)]


def tab(workdirs: Workdirs, sessions: Sessions, status: Status) -> Tab:
    """Make the tab, with the example picture and the inputs of the best model that can edit."""
    names = _able_to_edit(workdirs)
    first = next(iter(names), None)
    config = None if first is None else workdirs.config(first)
    of_model = model_inputs(config)
    example = None if config is None else _example(data.facts(config).image_shape)
    nothing = views.part(views.pair(views.empty(NO_PICTURE), views.empty(NOT_SEEN)))
    with gr.Tab('From an image', id='edit'), gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            model = gr.Dropdown(label='Model', **model_choices(workdirs, names))
            given = gr.HTML(nothing if example is None else _given_view(example), min_height=200, label='Given')
            file = gr.UploadButton('Upload a picture', type='filepath', size='sm')
            split, number, take = _data_set()
            classes = gr.Dropdown(
                label='Classes',
                info='if empty, each class in turn',
                multiselect=True,
                **of_model['classes'],
            )
            strength = gr.Slider(
                0.05, 1, 0.6, step=0.05, label='Strength', info='near 0 changes almost nothing, 1 everything'
            )
            has_picture = example is not None
            with gr.Accordion('Mask: change only a part', open=False, visible=has_picture) as box:
                preset = gr.Dropdown(
                    painter.CHOICES, value='nothing', label='Mask', info='the part that the model may change'
                )
                mask = painter.painter(None if example is None else example.seen)
            with gr.Accordion('More settings', open=False):
                steps = Steps.make(of_model['steps'], of_model['own_steps'])
                seed = seed_field()
                count = gr.Slider(1, engine.BATCH_SIZES[-1], 4, step=1, label='Images')
            with gr.Row():
                go = gr.Button('Make images', variant='primary', elem_id=GO, scale=3, min_width=120)
                stop = gr.Button('Stop', min_width=80)
        with gr.Column(scale=3, min_width=280, elem_classes='first-on-phones'):
            output = gr.HTML(
                views.part(views.empty('Images made from the picture appear here.')),
                min_height=200,
                label='Images',
                elem_classes='result',
            )
            again = replay.make('edit', sessions)
    fields = {
        'classes': classes,
        'strength': strength,
        'steps': steps.choice,
        'own_steps': steps.own,
        'seed': seed,
        'count': count,
        'mask': mask,
    }
    made = Tab(workdirs, sessions, first, model, fields, [given, mask, box], again)
    model.input(with_error_toasts(made.choose), model, made.of_model(), **QUIET)
    file.upload(made.upload, [file, model], made.given, **QUIET)
    take.click(made.take_from_data_set, [model, split, number], made.given, **QUIET)
    preset.input(with_error_toasts(made.preset), [preset, model], mask, **QUIET)
    outputs = [output, *again.controls]
    asked = [model, *fields.values()]
    status.watch(go)
    making = go.click(made.make, asked, outputs, show_progress_on=output, scroll_to_output=True, **USES_DEVICE)
    making.then(again.after_step, again.slider, again.view, **QUIET)
    stop.click(None, None, None, cancels=making, api_visibility='private')
    return made


def _data_set() -> tuple[gr.Radio, gr.Number, gr.Button]:
    """Make the inputs that choose an image of the data set."""
    with gr.Accordion('Or an image of the data set', open=False):
        with gr.Row():
            split = gr.Radio(['train', 'test'], value='test', label='Split')
            number = gr.Number(3, precision=0, minimum=0, label='Image number', min_width=120)
        take = gr.Button('Take this one', size='sm')
    return split, number, take
