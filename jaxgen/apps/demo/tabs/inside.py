"""What a diffusion model does to an image and undoes again, its schedule beside others, and what was found inside it."""

from __future__ import annotations

import dataclasses
from typing import Any

import gradio as gr
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.apps.demo import views
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.tabs.parts import QUIET
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.evaluate.evaluator import load_options
from jaxgen.data import load
from jaxgen.diffusion.schedules import SCHEDULES, LearnedSchedule, Level
from jaxgen.errors import UserError, check
from jaxgen.io import images
from jaxgen.methods import METHODS

LEVELS = 20  # of the forward process that are shown
OTHERS = ('linear', 'cosine', 'edm', 'flow')
LARGEST_REPORT = 50_000_000  # bytes


@dataclasses.dataclass(frozen=True)
class Tab:
    workdirs: Workdirs
    opened: gr.Tab
    model: gr.Dropdown
    image: gr.Number
    level: gr.Slider
    outputs: list[gr.HTML]

    def on_load(self, page: gr.Blocks) -> None:
        page.load(self._first, None, self.model, **QUIET)
        self.opened.select(self.look, [self.model, self.image, self.level], self.outputs, **QUIET)

    def _first(self) -> Any:
        names = self.workdirs.that_draw()
        return gr.Dropdown(choices=names, value=next(iter(names), None))

    def look(self, name: str | None, number: float, level: float) -> list[str]:
        return [self.forward(name, number, level), self.schedules(name), self.report(name)]

    def forward(self, name: str | None, number: float, level: float) -> str:
        """A real image with the noise of a level, and some of all levels."""
        try:
            config, levels = self._levels(name)
            found = load(config.data.name, 'test', **load_options(config)).images
            check(0 <= int(number or 0) < len(found), f'{config.data.name}:test has {len(found):,} images, from 0 on')
            noised = _noised(found[int(number or 0)], levels)
        except UserError as e:
            return views.note(str(e))
        at = min(int(level), len(noised) - 1)
        signal = float(np.asarray(levels.alpha)[::-1][at]), float(np.asarray(levels.sigma)[::-1][at])
        caption = f'alpha {signal[0]:.3f}, sigma {signal[1]:.3f}: x = alpha image + sigma noise'
        return views.part(
            views.side(
                (
                    views.picture(noised[at], f'image {number} at level {at} of {len(noised) - 1}', caption),
                    views.picture(
                        images.grid(noised), 'the image at all levels', 'From the image to noise, row by row'
                    ),
                )
            )
        )

    def schedules(self, name: str | None) -> str:
        """alpha and sigma of the model's own, and the ratio of noise to signal of several."""
        try:
            config, own = self._levels(name)
        except UserError:
            return ''
        share = np.linspace(1, 0, len(own.alpha))
        ends = {'alpha (signal)': own.alpha, 'sigma (noise)': own.sigma}
        lines = {k: list(zip(share, np.asarray(z), strict=True)) for k, z in ends.items()}
        known = {f'this model: {config.diffusion.schedule}': own}
        known |= {k: SCHEDULES[k](1000).levels(50) for k in OTHERS if k != config.diffusion.schedule}
        ratios = {k: _ratio(levels) for k, levels in known.items()}
        return views.part(
            views.curves(lines, 'share of the way to noise', 'factor', f'The schedule {config.diffusion.schedule}'),
            views.curves(
                ratios, 'share of the way to noise', 'sigma / alpha', 'Noise over signal, beside other schedules'
            ),
        )

    def report(self, name: str | None) -> str:
        """That of ``--mode=interpret``, in a frame that can do nothing but show it."""
        if not name:
            return ''
        path = self.workdirs.path(name) / 'interpretation' / 'report.html'
        if not path.exists() or path.stat().length > LARGEST_REPORT:
            line = f'python main.py --config={name}/config.json --mode=interpret'
            return views.part(views.command(line, 'The atlas and the ablations appear here once they are made:'))
        page = views.text(path.read_text())
        return views.part(f'<iframe sandbox title="Inside {views.text(name)}" srcdoc="{page}"></iframe>')

    def _levels(self, name: str | None) -> tuple[Any, Level]:
        check(bool(name), 'no model is here yet: train one, as `make run` does, and load this page again')
        config = self.workdirs.config(name)
        check(
            METHODS[config.family].supports.denoises,
            f'{name} is no diffusion model: it makes its images at once, without noise to undo',
        )
        schedule = SCHEDULES[config.diffusion.schedule](config.diffusion.timesteps)
        if isinstance(schedule, LearnedSchedule):
            trained = self.workdirs.model(name).trained
            schedule = trained.method.schedule_of(trained.sampler().variables(trained.model))
        return config, schedule.levels(min(LEVELS, config.diffusion.timesteps))


def _noised(image: np.ndarray, levels: Level) -> np.ndarray:
    """uint8 ``[S + 1, H, W, C]`` of unit variance, from the image to noise; the noise is one and the same."""
    noise = np.asarray(jax.random.normal(jax.random.key(0), image.shape))
    x0 = np.asarray(images.from_uint8(jnp.asarray(image)))
    alpha, sigma = (np.asarray(z)[::-1, None, None, None] for z in levels[:2])
    return images.to_uint8((alpha * x0 + sigma * noise) / np.hypot(alpha, sigma))


def _ratio(levels: Level) -> list[tuple[float, float]]:
    """sigma / alpha where both are there."""
    alpha, sigma = np.asarray(levels.alpha), np.asarray(levels.sigma)
    share = np.linspace(1, 0, len(alpha))
    return [(s, b / a) for s, a, b in zip(share, alpha, sigma, strict=True) if a > 0 and b > 0]


def tab(workdirs: Workdirs, sessions: Sessions) -> Tab:
    with gr.Tab('Inside') as opened:
        with gr.Row():
            model = gr.Dropdown(label='Model', choices=workdirs.that_draw(), min_width=280)
            image = gr.Number(3, precision=0, minimum=0, label='Image number', info='of the test split')
            level = gr.Slider(0, LEVELS, LEVELS // 2, step=1, label='Noise', info='from the image to none of it')
        forward = gr.HTML(
            views.part(views.empty('A real image and its noise appear here.')), min_height=480, label='Forward process'
        )
        schedules = gr.HTML('', min_height=400, label='Schedules')
        report = gr.HTML('', min_height=100, label='Interpretation')
    made = Tab(workdirs, opened, model, image, level, [forward, schedules, report])
    fields = [model, image, level]
    model.input(made.look, fields, made.outputs, **QUIET)
    for field in (image, level):
        field.change(made.forward, fields, forward, trigger_mode='always_last', **QUIET)
    return made
