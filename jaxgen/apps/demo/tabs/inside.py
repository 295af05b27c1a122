"""The tab Inside: the noise that a diffusion model undoes, its schedule next to others, and the report of mode=interpret."""

from __future__ import annotations

import dataclasses
from typing import cast

import gradio as gr
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.apps.config import Config
from jaxgen.apps.data import load_split
from jaxgen.apps.demo import inputs, views
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.tabs.parts import QUIET, Update, with_error_toasts
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.edit.denoising_steps import noise_share
from jaxgen.apps.edit.start import to_images
from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.schedules import SCHEDULES, LearnedSchedule
from jaxgen.errors import UserError, check
from jaxgen.io import grids, images
from jaxgen.io.grids import Labels
from jaxgen.methods import METHODS
from jaxgen.methods.diffusion.method import Diffusion

LEVELS = 20  # noise levels of the forward process that are shown
OTHER_SCHEDULES = ('linear', 'cosine', 'edm', 'flow')
MAX_REPORT = 50_000_000  # bytes


@dataclasses.dataclass(frozen=True)
class Tab:
    """The choice of a model, an image and a noise level, and what is shown of them."""

    workdirs: Workdirs
    opened: gr.Tab
    model: gr.Dropdown
    image: gr.Number
    level: gr.Slider
    outputs: list[gr.HTML]

    def on_load(self, page: gr.Blocks) -> None:
        """Choose the first model when the page is opened."""
        page.load(self._choose_first, None, self.model, **QUIET)
        self.opened.select(with_error_toasts(self.show), [self.model, self.image, self.level], self.outputs, **QUIET)

    def show(self, name: str | None, number: int | None, level: int) -> list[str]:
        """Return all that the tab shows of a model, as HTML."""
        asked = inputs.read(model=name, number=number, place=level)
        return [self.forward(name, number, level), self.schedules(asked.model), self.report(asked.model)]

    def forward(self, name: str | None, number: int | None, level: int) -> str:
        """Return a real image at a noise level and at all levels, as HTML."""
        try:
            asked = inputs.read(model=name, number=number, place=level)
            config, levels = self._levels(asked.model)
            found = load_split(config, 'test').images
            number = asked.number or 0
            check(
                number < len(found),
                f'{config.data.name}:test has {len(found):,} images, numbered from 0: choose one of them',
            )
            noisy = _noisy_images(found[number], levels)
        except UserError as e:
            return views.note(str(e))
        at = min(asked.place, len(noisy) - 1)
        alpha, sigma = (float(np.asarray(table)[::-1][at]) for table in (levels.alpha, levels.sigma))
        caption = f'alpha {alpha:.3f}, sigma {sigma:.3f}: x = alpha image + sigma noise'
        pictures = (
            views.picture(noisy[at], f'image {number} at level {at} of {len(noisy) - 1}', caption),
            views.grid(_all_levels(noisy, levels), 'the image at all levels', 'From the image to noise, row by row'),
        )
        return views.part(views.side(pictures))

    def schedules(self, name: str | None) -> str:
        """Return charts of the model's schedule, and of its ratio of noise to signal next to others, as HTML."""
        try:
            config, own = self._levels(name)
        except UserError:
            return ''
        schedule = config.diffusion.schedule
        share = np.linspace(1, 0, len(own.alpha))
        tables = {'alpha (signal)': own.alpha, 'sigma (noise)': own.sigma}
        lines = {title: list(zip(share, np.asarray(table), strict=True)) for title, table in tables.items()}
        compared = {f'this model: {schedule}': own}
        compared |= {other: SCHEDULES[other](1000).levels(50) for other in OTHER_SCHEDULES if other != schedule}
        ratios = {title: _noise_to_signal(levels) for title, levels in compared.items()}
        x = 'share of the way to noise'
        return views.part(
            views.curves(lines, x, 'factor', f'The schedule {schedule}'),
            views.curves(ratios, x, 'sigma / alpha', 'Noise over signal, next to other schedules'),
        )

    def report(self, name: str | None) -> str:
        """Return the report of ``--mode=interpret`` in a frame that can only show it, as HTML."""
        if not name:
            return ''
        path = self.workdirs.path(name) / 'interpretation' / 'report.html'
        if not path.exists() or path.stat().length > MAX_REPORT:
            line = f'python main.py --config={name}/config.json --mode=interpret'
            return views.part(views.command(line, 'The atlas and the ablations appear here after this command:'))
        page = views.text(path.read_bytes().decode(errors='replace'))
        return views.part(f'<iframe sandbox title="Inside {views.text(name)}" srcdoc="{page}"></iframe>')

    def _choose_first(self) -> Update:
        names = self.workdirs.able_to_sample()
        denoise = [name for name in names if METHODS[self.workdirs.config(name).method].supports.denoises]
        return gr.Dropdown(choices=self.workdirs.choices(names), value=next(iter([*denoise, *names]), None))

    def _levels(self, name: str | None) -> tuple[Config, Level]:
        """Return the config of a model, and the noise levels to show.

        Raises:
          UserError: if it has none.
        """
        if not name:
            raise UserError('no model is here yet: train one, as `make run` does, and load this page again')
        config = self.workdirs.config(name)
        check(
            METHODS[config.method].supports.denoises,
            f'{name} is no diffusion model: it samples in one step, without noise levels; choose another model',
        )
        d = config.diffusion
        schedule = SCHEDULES[d.schedule](d.timesteps)
        if isinstance(schedule, LearnedSchedule):
            trained = self.workdirs.model(name).trained
            variables = trained.sampler().variables(trained.model)
            schedule = cast(Diffusion, trained.method).schedule_of(variables)
        return config, schedule.levels(min(LEVELS, d.timesteps))


def _noisy_images(image: np.ndarray, levels: Level) -> np.ndarray:
    """Return an image with the same noise at all levels, from the image to noise: uint8 ``[S + 1, H, W, C]``."""
    rising = Level(*(np.asarray(table)[::-1] for table in levels))
    alpha, sigma = (table[:, None, None, None] for table in (rising.alpha, rising.sigma))
    noise = np.asarray(jax.random.normal(jax.random.key(0), image.shape))
    x0 = np.asarray(images.from_uint8(jnp.asarray(image)))
    return to_images(alpha * x0 + sigma * noise, rising)


def _all_levels(noisy: np.ndarray, levels: Level) -> np.ndarray:
    """Return a grid of the image at all levels with the share of noise of each."""
    shares = noise_share(levels)[::-1]
    return grids.labelled(noisy, Labels('share of noise', captions=[f'{share:.0%}' for share in shares]))


def _noise_to_signal(levels: Level) -> list[tuple[float, float]]:
    """Return the points of sigma / alpha over the share of the way to noise, where both are above 0."""
    alpha, sigma = np.asarray(levels.alpha), np.asarray(levels.sigma)
    share = np.linspace(1, 0, len(alpha))
    return [(s, b / a) for s, a, b in zip(share, alpha, sigma, strict=True) if a > 0 and b > 0]


def tab(workdirs: Workdirs, sessions: Sessions) -> Tab:
    """Make the tab."""
    with gr.Tab('Inside') as opened:
        with gr.Row():
            model = gr.Dropdown(label='Model', choices=workdirs.able_to_sample(), min_width=280)
            image = gr.Number(3, precision=0, minimum=0, label='Image number', info='of the test split')
            level = gr.Slider(0, LEVELS, LEVELS // 2, step=1, label='Noise', info='from the image to none of it')
        forward = gr.HTML(
            views.part(views.empty('A real image and its noise appear here.')),
            min_height=300,
            label='Forward process',
            elem_classes='result',
        )
        schedules = gr.HTML('', min_height=200, label='Schedules')
        report = gr.HTML('', min_height=100, label='Interpretation')
    made = Tab(workdirs, opened, model, image, level, [forward, schedules, report])
    fields = [model, image, level]
    model.input(with_error_toasts(made.show), fields, made.outputs, **QUIET)
    for field in (image, level):
        field.change(made.forward, fields, forward, trigger_mode='always_last', **QUIET)
    return made
