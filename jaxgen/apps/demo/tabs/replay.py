"""The replay below the images of a tab: a slider over the steps from noise to the images, and their animation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import gradio as gr
import numpy as np

from jaxgen.apps.demo import inputs, views
from jaxgen.apps.demo.engine import Progress
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.tabs.parts import QUIET, USES_DEVICE, Part, Update, job_of, with_error_toasts
from jaxgen.apps.edit.denoising_steps import ANIMATED, Steps, animation, step_title

NO_WAY = 'After sampling, the steps from noise to the images can be replayed here.'


@dataclasses.dataclass(frozen=True)
class Replay:
    """A slider over the steps, the images after the chosen step, and a link to their animation.

    Attributes:
      tab: the name of the tab, under which a session keeps its steps.
      sessions: the sessions of all visitors.
      box: the box around it, which a visitor opens.
      slider: the number of steps.
      view: the images.
      save: the button that makes the animation.
      file: the link to the animation.
    """

    tab: str
    sessions: Sessions
    box: gr.Accordion
    slider: gr.Slider
    view: gr.HTML
    save: gr.Button
    file: gr.HTML

    @property
    def controls(self) -> list[Part]:
        """The components that can be used once there are images."""
        return [self.slider, self.save]

    @property
    def after_step(self) -> Callable[..., str]:
        """The function that returns the images after a number of steps, as HTML."""
        return with_error_toasts(self._after_step)

    def keep(self, way: Sequence[Progress], request: gr.Request) -> list[Update]:
        """Keep the steps of new images, and return the updates of ``controls``."""
        self.sessions[request.session_hash].ways[self.tab] = list(way)
        taken, has_steps = way[-1].taken if way else 1, len(way) > 1
        return [
            gr.Slider(maximum=max(taken, 1), value=taken, interactive=has_steps),
            gr.Button(interactive=has_steps),
        ]

    def _after_step(self, place: int, request: gr.Request) -> str:
        way, asked = self._way(request), inputs.read(place=place)
        if not way:
            return views.part(views.empty(NO_WAY))
        step = [step for step in way if step.taken <= asked.place or step is way[0]][-1]
        title = step_title(step.taken, way[-1].taken, step.noise)
        wide, narrow = step.picture(title), step.picture(title, narrow=True)
        return views.part(views.grid(wide, f'the images after {title}', f'after {title}', narrow=narrow))

    def animate(self, request: gr.Request) -> Iterator[str]:
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
    """Add a step to the recorded ones, with some of its images; steps in which only later batches change are left out."""
    if step.compiling is not None or (way and way[-1].taken == step.taken):
        return
    labels = None if step.labels is None else step.labels[:ANIMATED]
    way.append(step._replace(images=step.images[:ANIMATED].copy(), labels=labels))


def make(tab: str, sessions: Sessions, *, is_shown: bool = True) -> Replay:
    """Make the components.

    Args:
      tab: the name of the tab.
      sessions: the sessions of all visitors.
      is_shown: whether the model takes steps, so that there is something to replay.
    """
    with gr.Accordion('Replay: from noise to the images', open=False, visible=is_shown) as box:
        slider = gr.Slider(0, 1, 0, step=1, label='Steps taken', interactive=False)
        view = gr.HTML(views.part(views.empty(NO_WAY)), label='Replay')
        save = gr.Button('Make a WebP animation', size='sm', interactive=False)
        file = gr.HTML('', label='Animation')
    made = Replay(tab, sessions, box, slider, view, save, file)
    slider.change(made.after_step, slider, view, trigger_mode='always_last', **QUIET)
    save.click(made.animate, None, file, **USES_DEVICE)
    return made
