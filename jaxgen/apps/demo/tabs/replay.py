"""The way of images from noise, under the images of a tab: replayed with a slider, and saved as an animation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import gradio as gr
import numpy as np

from jaxgen.apps.demo import inputs, views
from jaxgen.apps.demo.engine import Progress
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.tabs.parts import QUIET, USES_DEVICE, Update, job_of, with_error_toasts
from jaxgen.apps.edit.denoising_steps import ANIMATED, Steps, animation, step_title

NO_WAY = 'After sampling, the way of the images from noise can be replayed here.'


@dataclasses.dataclass(frozen=True)
class Replay:
    """The slider over the steps, the images after some of them, and their animation as a file.

    Attributes:
      tab: the name of the tab, under which a session keeps its steps.
      sessions: of all visitors.
      box: what is opened to see it.
      slider: the number of steps.
      view: the images.
      file: the link to the animation.
    """

    tab: str
    sessions: Sessions
    box: gr.Accordion
    slider: gr.Slider
    view: gr.HTML
    file: gr.HTML

    @property
    def after_step(self) -> Callable[..., str]:
        """The function that returns the images after some of the steps, as HTML."""
        return with_error_toasts(self._after_step)

    def keep(self, way: list[Progress], request: gr.Request) -> Update:
        """Keep the steps of new images, and return the update of the slider."""
        self.sessions[request.session_hash].ways[self.tab] = way
        taken = way[-1].taken if way else 1
        return gr.Slider(maximum=max(taken, 1), value=taken)

    def _after_step(self, place: int, request: gr.Request) -> str:
        way, asked = self._way(request), inputs.read(place=place)
        if not way:
            return views.part(views.empty(NO_WAY))
        step = [step for step in way if step.taken <= asked.place or step is way[0]][-1]
        title = step_title(step.taken, way[-1].taken, step.noise)
        return views.part(views.grid(step.picture(title), f'the images after {title}', f'after {title}'))

    def save(self, request: gr.Request) -> Iterator[str]:
        """Yield a link to the animation as a WebP file."""
        way = self._way(request)
        job_of(request).state = 'an animation'
        if len(way) < 2:
            yield views.part(views.empty(NO_WAY))
            return
        pictures = np.stack([step.images for step in way])
        numbers = np.array([step.taken for step in way])
        steps = Steps(pictures, numbers, np.array([step.noise for step in way]), way[-1].taken)
        data = animation(steps, lambda frame, title: way[-1]._replace(images=frame).picture(title))
        size = f'{len(data) / 1e6:.1f} MB'
        yield views.part(views.download('denoising.webp', data, 'image/webp', f'Download WebP ({size})'))

    def _way(self, request: gr.Request) -> list[Progress]:
        return self.sessions[request.session_hash].ways.get(self.tab, [])


def record(way: list[Progress], step: Progress) -> None:
    """Add a step to a way, with the images that can be replayed; steps of later batches alone add nothing."""
    if step.compiling is not None or (way and way[-1].taken == step.taken):
        return
    labels = None if step.labels is None else step.labels[:ANIMATED]
    way.append(step._replace(images=step.images[:ANIMATED].copy(), labels=labels))


def make(tab: str, sessions: Sessions) -> Replay:
    """Make the components."""
    with gr.Accordion('Replay: from noise to the images', open=False) as box:
        slider = gr.Slider(0, 18, 0, step=1, label='Steps taken')
        view = gr.HTML(views.part(views.empty(NO_WAY)), label='Replay')
        save = gr.Button('Make a WebP animation', size='sm')
        file = gr.HTML('', label='Animation')
    made = Replay(tab, sessions, box, slider, view, file)
    slider.change(made.after_step, slider, view, trigger_mode='always_last', **QUIET)
    save.click(made.save, None, file, **USES_DEVICE)
    return made
