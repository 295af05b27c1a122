"""Models side by side from the same seeds, beside real images, with what was measured of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

from jaxgen.apps.demo import views
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.tabs.parts import DRAWS, QUIET, politely, seed_field, seed_of, shown
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.evaluate.evaluator import load_options
from jaxgen.data import load
from jaxgen.errors import UserError, check
from jaxgen.io import images

FEW = 16  # images of each


@dataclasses.dataclass(frozen=True)
class Tab:
    workdirs: Workdirs
    models: gr.CheckboxGroup

    def on_load(self, page: gr.Blocks) -> None:
        page.load(self._first, None, self.models, **QUIET)

    def _first(self) -> Any:
        """The first model is chosen, and the next one of the same data."""
        names = self.workdirs.that_draw()
        data = [self.workdirs.config(name).data.name for name in names]
        alike = [name for name, of in zip(names, data, strict=True) if of == data[0]]
        return gr.CheckboxGroup(choices=names, value=alike[:2])

    @property
    def draw(self):
        return politely(self._draw)

    def _draw(self, names, seed, steps, count) -> Iterator[str]:
        check(bool(names), 'choose a model, or more of them')
        names = [name for name in self.workdirs.that_draw() if name in names]
        count, boxes = int(count), {}
        for i, name in enumerate(names, 1):
            model = self.workdirs.model(name)
            timesteps = model.config.diffusion.timesteps if model.steps_through_noise else steps
            fields = {'seed': seed_of(seed), 'sample.num': count, 'sample.num_steps': int(min(steps, timesteps))}
            for moment in shown(model.generate(fields)):
                protocol = f'step {model.trained.step:,}, {self._how(model, fields)}'
                boxes[name] = self._box(moment.images, name, protocol)
                bar = views.progress(moment.done, moment.total, f'{name}, {i} of {len(names)}')
                yield views.part(bar, views.side(boxes.values()))
        real, missing = self._real(names, count, seed_of(seed))
        boxes |= {title: self._box(pictures, title, 'held out') for title, pictures in real.items()}
        notes = ''.join(f'<p class="note">{views.text(sentence)}</p>' for sentence in missing)
        yield views.part(bar, views.side(boxes.values()), notes, self._figures(names))

    @staticmethod
    def _how(model: Any, fields: dict[str, Any]) -> str:
        if not model.steps_through_noise:
            return 'one call of the generator'
        return f'{model.config.sample.sampler}, {fields["sample.num_steps"]} steps'

    @staticmethod
    def _box(pictures: np.ndarray, name: str, protocol: str) -> str:
        return views.picture(images.grid(pictures), f'grid of images: {name}', f'{name} ({protocol})')

    def _real(self, names: list[str], count: int, seed: int) -> tuple[dict[str, np.ndarray], list[str]]:
        """Images of the test splits that the models were trained beside, and why some are not here."""
        found, missing = {}, []
        for config in map(self.workdirs.config, names):
            title = f'real images of {config.data.name}'
            if title in found:
                continue
            try:
                held_out = load(config.data.name, 'test', **load_options(config)).images
            except UserError as e:
                missing.append(f'{title}: {e}')
                continue
            found[title] = held_out[np.random.default_rng(seed).choice(len(held_out), count, replace=False)]
        return found, missing

    def _figures(self, names: list[str]) -> str:
        results = {
            f'{name}, {stem}': result for name in names for stem, result in self.workdirs.evaluations(name).items()
        }
        if not results:
            return '<p>No figures yet: <code>python main.py --config=WORKDIR/config.json --mode=evaluate</code> makes them.</p>'
        return views.figures(results)


def tab(workdirs: Workdirs, sessions: Sessions) -> Tab:
    with gr.Tab('Compare'):
        with gr.Row():
            models = gr.CheckboxGroup([], label='Models', min_width=280)
            with gr.Column(min_width=280):
                seed = seed_field()
                steps = gr.Slider(1, 1000, 20, step=1, label='Steps', info='of diffusion models')
                count = gr.Slider(1, FEW, FEW, step=1, label='Images of each')
        go = gr.Button('Compare', variant='primary')
        stop = gr.Button('Stop')
        output = gr.HTML(
            views.part(views.empty('The models appear here side by side.')), min_height=560, label='Comparison'
        )
    made = Tab(workdirs, models)
    drawing = go.click(made.draw, [models, seed, steps, count], output, **DRAWS)
    stop.click(None, None, None, cancels=drawing, api_visibility='private')
    return made
