"""Images from a picture: changed by noise of some strength, or painted within a mask, and the way there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

from jaxgen.apps.demo import engine, uploads, views
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.tabs import painter
from jaxgen.apps.demo.tabs.parts import DRAWS, QUIET, options, seed_field, seed_of, shown, state
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.evaluate.evaluator import load_options
from jaxgen.data import SOURCES, load
from jaxgen.errors import UserError, check
from jaxgen.io import images

NONE_YET = 'Upload a picture, or take one of the data set.'
SEEN = 'What the network sees of it appears here.'


@dataclasses.dataclass(frozen=True)
class Tab:
    """The inputs, and what becomes of a picture."""

    workdirs: Workdirs
    sessions: Sessions
    model: gr.Dropdown
    classes: gr.Dropdown
    steps: gr.Slider

    def on_load(self, page: gr.Blocks) -> None:
        page.load(self._first, None, [self.model, self.classes, self.steps], **QUIET)

    def _first(self) -> list[Any]:
        able = [name for name in self.workdirs.that_draw() if engine.edits(self.workdirs.config(name))]
        first = next(iter(able), None)
        return [gr.Dropdown(choices=able, value=first), *self.chosen(first)]

    def chosen(self, name: str | None) -> list[Any]:
        if not name:
            return [gr.skip(), gr.skip()]
        found = options(self.workdirs.config(name))
        return [found['classes'], found['steps']]

    def upload(self, path: str, name: str | None, request: gr.Request) -> tuple[str, Any]:
        """Shows what was uploaded beside what the network sees; the file is gone when this returns."""
        try:
            data = uploads.take(path)
            return self._given(uploads.picture(data, self._shape(name)), request)
        except UserError as e:
            return views.note(str(e)), gr.skip()

    def of_data_set(self, name: str | None, split: str, number: float | None, request: gr.Request) -> tuple[str, Any]:
        try:
            self._shape(name)
            config = self.workdirs.config(name)
            found = load(config.data.name, split, **load_options(config)).images
            number = int(number or 0)
            check(0 <= number < len(found), f'{config.data.name}:{split} has {len(found):,} images, from 0 on')
            picture = uploads.of_data_set(config.data.name, split, number, found[number])
            return self._given(picture, request)
        except UserError as e:
            return views.note(str(e)), gr.skip()

    def _given(self, picture: uploads.Picture, request: gr.Request) -> tuple[str, Any]:
        session = self.sessions[request.session_hash]
        session.picture, session.way = picture, None
        pictures = (
            views.picture(picture.shown, 'the picture as it was given', 'What you gave'),
            views.picture(picture.seen, 'the picture as the network sees it', 'What the network sees'),
        )
        shown_pair = views.part(views.pair(*pictures), f'<p role="status" class="small">{picture.says}</p>')
        return shown_pair, painter.value(picture.seen, 'nothing')

    def preset(self, name: str, request: gr.Request) -> Any:
        picture = self.sessions[request.session_hash].picture
        return painter.value(picture.seen, name) if picture else gr.skip()

    def draw(
        self, name, classes, strength, steps, seed, count, painted, request: gr.Request
    ) -> Iterator[tuple[str, Any]]:
        """HTML, and the slider over the way."""
        session = self.sessions[request.session_hash]
        try:
            check(session.picture is not None, NONE_YET)
            shape = self._shape(name)
            check(
                session.picture.seen.shape == shape,
                f'{name} sees {shape[0]}x{shape[1]} pixels in {shape[2]} channels: give it the picture again',
            )
            mask = painter.mask(painted, shape[0])
            fields = {
                'seed': seed_of(seed),
                'sample.classes': ','.join(classes or ()),
                'sample.num_steps': int(steps),
                'edit.kind': 'image2image' if mask is None else 'inpaint',
                'edit.input': session.picture.source,
                'edit.mask': '' if mask is None else 'mask.png',
                'edit.strength': float(strength),
                'edit.num': int(count),
            }
            model = self.workdirs.model(name)
            what, way = f'{count} images from the picture', []
            for moment in self._remembered(model.edit(fields, session.picture.seen, mask), way):
                result = self._result(name, model, fields, moment.images, mask) if moment.last else ''
                if moment.last:
                    session.way = np.stack(way)
                slider = gr.Slider(maximum=moment.total, value=moment.total) if moment.last else gr.skip()
                yield views.part(state(moment, what), result), slider
        except UserError as e:
            yield views.note(str(e)), gr.skip()

    @staticmethod
    def _remembered(moments: Iterator[engine.Moment], way: list[np.ndarray]) -> Iterator[engine.Moment]:
        def all_kept():
            for moment in moments:
                way.append(moment.images)
                yield moment

        return shown(all_kept())

    @staticmethod
    def _result(
        name: str, model: engine.Model, fields: dict[str, Any], made: np.ndarray, mask: np.ndarray | None
    ) -> str:
        links = views.download('edited.png', images.png(images.grid(made)), 'image/png', 'Download PNG')
        links += views.download('edited.npz', images.npz(images=made), 'application/octet-stream', 'Download npz')
        if mask is not None:
            links += views.download(
                'mask.png', images.png((mask * 255).astype(np.uint8)), 'image/png', 'Download the mask'
            )
        return links + views.command(engine.command(name, 'edit', model.config, fields))

    def at(self, step: float, request: gr.Request) -> str:
        """The images after so many steps."""
        way = self.sessions[request.session_hash].way
        if way is None:
            return views.part(views.empty('The way of the images appears here.'))
        step = min(int(step), len(way) - 1)
        caption = f'after {step} of {len(way) - 1} steps'
        return views.part(views.picture(images.grid(way[step]), f'the images {caption}', caption))

    def _shape(self, name: str | None) -> tuple[int, int, int]:
        check(bool(name), 'no diffusion model is here yet: train one, as `make run` does, and load this page again')
        data = self.workdirs.config(name).data
        side = data.image_size or SOURCES[data.name].image_size
        return side, side, SOURCES[data.name].channels


def tab(workdirs: Workdirs, sessions: Sessions) -> Tab:
    with gr.Tab('From an image'), gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            model = gr.Dropdown(label='Model', choices=[])
            file = gr.UploadButton('Upload a picture', type='filepath')
            with gr.Row():
                split = gr.Radio(['train', 'test'], value='test', label='Or of the data set')
                number = gr.Number(3, precision=0, minimum=0, label='Image number')
            take = gr.Button('Take this one')
            given = gr.HTML(
                views.part(views.pair(views.empty(NONE_YET), views.empty(SEEN))), min_height=260, label='Given'
            )
            classes = gr.Dropdown(label='Classes', info='to draw it as; none: all in turn', multiselect=True)
            strength = gr.Slider(0.05, 1, 0.6, step=0.05, label='Strength', info='of the noise: how much may change')
            steps = gr.Slider(1, 1000, 20, step=1, label='Steps')
            seed = seed_field()
            count = gr.Slider(1, engine.BATCHES[-1], 4, step=1, label='Images')
            preset = gr.Dropdown(
                list(painter.PRESETS), value='nothing', label='Mask', info='what the model paints anew'
            )
            mask = painter.painter()
        with gr.Column(scale=3, min_width=280):
            go = gr.Button('Make images', variant='primary')
            stop = gr.Button('Stop')
            output = gr.HTML(
                views.part(views.empty('Images made from the picture appear here.')),
                min_height='min(760px, 165vw)',
                label='Images',
            )
            step = gr.Slider(0, 20, 0, step=1, label='The way: steps done')
            way = gr.HTML(
                views.part(views.empty('The way of the images appears here.')), min_height=500, label='The way'
            )
    made = Tab(workdirs, sessions, model, classes, steps)
    model.input(made.chosen, model, [classes, steps], **QUIET)
    file.upload(made.upload, [file, model], [given, mask], **QUIET)
    take.click(made.of_data_set, [model, split, number], [given, mask], **QUIET)
    preset.input(made.preset, preset, mask, **QUIET)
    fields = [model, classes, strength, steps, seed, count, mask]
    drawing = go.click(made.draw, fields, [output, step], show_progress_on=output, **DRAWS)
    step.change(made.at, step, way, trigger_mode='always_last', **QUIET)
    drawing.then(made.at, step, way, **QUIET)
    stop.click(None, None, None, cancels=drawing, api_visibility='private')
    return made
