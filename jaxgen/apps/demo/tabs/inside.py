"""The tab Inside: an image under rising noise, the noise schedule next to others, and the report of mode=interpret."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import cast

import gradio as gr
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.apps.config import Config
from jaxgen.apps.data import load_split
from jaxgen.apps.demo import inputs, views
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.tabs.parts import QUIET, Update, choices_update, model_choices, with_error_toasts
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.edit.denoising_steps import noise_share
from jaxgen.apps.edit.start import to_images
from jaxgen.apps.reports import words
from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.schedules import SCHEDULES, LearnedSchedule
from jaxgen.errors import UserError, check
from jaxgen.io import grids, images
from jaxgen.io.grids import Labels
from jaxgen.methods import METHODS
from jaxgen.methods.diffusion.method import Diffusion

LEVELS = 20  # number of noise levels of the forward process that are shown
COLUMNS = 5  # images of the forward process in a row
OTHER_SCHEDULES = ('linear', 'cosine', 'edm', 'flow')
MAX_REPORT = 50_000_000  # bytes


@dataclasses.dataclass(frozen=True)
class Tab:
    """The choice of a model, an image and a noise level, and what is shown of them.

    Attributes:
      workdirs: the run directories.
      opened: the tab; its contents are shown when it is selected.
      first: the model that was chosen when the page was built; None if there was none.
      model: the choice of the model.
      image: the number of the image.
      level: the noise level.
      outputs: the line about what is being read, the image under noise, the schedules, and the report.
    """

    workdirs: Workdirs
    opened: gr.Tab
    first: str | None
    model: gr.Dropdown
    image: gr.Number
    level: gr.Slider
    outputs: list[gr.HTML]

    def on_load(self, page: gr.Blocks) -> None:
        """Bring the list of models up to date when the page is opened."""
        page.load(self._opened, None, self.model, **QUIET)
        self.opened.select(with_error_toasts(self.show), [self.model, self.image, self.level], self.outputs, **QUIET)

    def show(self, name: str | None, number: int | None, level: int) -> Iterator[list[Update]]:
        """Yield a line about what is being read, and then all that the tab shows of a model, as HTML."""
        asked = inputs.read(model=name, number=number, place=level)
        if asked.model is not None:
            title = self.workdirs.config(asked.model).data.title
            line = views.busy('the test images', f'Reading the test images of {title} ...')
            yield [views.part(line), gr.skip(), gr.skip(), gr.skip()]
        forward = self.forward(name, number, level)
        yield ['', forward, self.schedules(asked.model), self.report(asked.model)]

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
        """Return charts of the model's schedule, and of its noise-to-signal ratio next to other schedules, as HTML."""
        try:
            config, own = self._levels(name)
        except UserError:
            return ''
        schedule = config.diffusion.schedule
        share = np.linspace(1, 0, len(own.alpha))
        tables = {'alpha (signal)': own.alpha, 'sigma (noise)': own.sigma}
        lines = {title: list(zip(share, np.asarray(table), strict=True)) for title, table in tables.items()}
        compared = {'this model': own}
        for other in OTHER_SCHEDULES:
            if other != schedule:
                compared[words.value('schedule', other)] = SCHEDULES[other](1000).levels(50)
        ratios = {title: _noise_to_signal(levels) for title, levels in compared.items()}
        x = 'share of the way to noise'
        charts = (
            views.curves(lines, x, 'factor', f'Noise schedule of the model: {words.value("schedule", schedule)}'),
            views.curves(ratios, x, 'sigma / alpha', 'Noise over signal, next to other schedules'),
        )
        return views.part(views.charts(charts))

    def report(self, name: str | None) -> str:
        """Return the report of ``--mode=interpret`` in a frame without scripts, as HTML."""
        if not name:
            return ''
        path = self.workdirs.path(name) / 'interpretation' / 'report.html'
        if not path.exists() or path.stat().length > MAX_REPORT:
            line = f'python main.py --config={name}/config.json --mode=interpret'
            return views.part(
                views.command(line, 'This command makes the atlas and the ablations, which then appear here:')
            )
        page = views.text(path.read_bytes().decode(errors='replace'))
        return views.part(f'<iframe sandbox title="Inside {views.text(name)}" srcdoc="{page}"></iframe>')

    def _opened(self) -> Update:
        return choices_update(model_choices(self.workdirs, _diffusion_first(self.workdirs)), [self.first])

    def _levels(self, name: str | None) -> tuple[Config, Level]:
        """Return the config of a model, and the noise levels to show.

        Raises:
          UserError: if it is not a diffusion model.
        """
        if not name:
            raise UserError('there is no model yet: train one, for example with `make run`, and load this page again')
        config = self.workdirs.config(name)
        check(
            METHODS[config.method].supports.denoises,
            f'{name} is not a diffusion model: it samples in one step, without noise levels; choose another model',
        )
        d = config.diffusion
        schedule = SCHEDULES[d.schedule](d.timesteps)
        if isinstance(schedule, LearnedSchedule):
            trained = self.workdirs.model(name).trained
            variables = trained.sampler().variables(trained.model)
            schedule = cast(Diffusion, trained.method).schedule_of(variables)
        return config, schedule.levels(min(LEVELS, d.timesteps))


def _noisy_images(image: np.ndarray, levels: Level) -> np.ndarray:
    """Return an image under the same noise at all levels, from the image to noise, uint8 ``[S + 1, H, W, C]``."""
    rising = Level(*(np.asarray(table)[::-1] for table in levels))
    alpha, sigma = (table[:, None, None, None] for table in (rising.alpha, rising.sigma))
    noise = np.asarray(jax.random.normal(jax.random.key(0), image.shape))
    x0 = np.asarray(images.from_uint8(jnp.asarray(image)))
    return to_images(alpha * x0 + sigma * noise, rising)


def _all_levels(noisy: np.ndarray, levels: Level) -> np.ndarray:
    """Return a grid of the image at all levels, with the share of noise below each."""
    shares = noise_share(levels)[::-1]
    labels = Labels('share of noise', captions=[f'{share:.0%}' for share in shares])
    return grids.labelled(noisy, labels, COLUMNS, grids.NARROW_WIDTH)


def _noise_to_signal(levels: Level) -> list[tuple[float, float]]:
    """Return points (share of the way to noise, sigma / alpha) for the levels at which both factors are above 0."""
    alpha, sigma = np.asarray(levels.alpha), np.asarray(levels.sigma)
    share = np.linspace(1, 0, len(alpha))
    return [(s, b / a) for s, a, b in zip(share, alpha, sigma, strict=True) if a > 0 and b > 0]


def _diffusion_first(workdirs: Workdirs) -> list[str]:
    """Return the names of all models that sample, the diffusion models first."""
    names = workdirs.able_to_sample()
    return sorted(names, key=lambda name: not METHODS[workdirs.config(name).method].supports.denoises)


def tab(workdirs: Workdirs, sessions: Sessions) -> Tab:
    """Make the tab, with the best diffusion model chosen."""
    names = _diffusion_first(workdirs)
    first = next(iter(names), None)
    with gr.Tab('Inside') as opened:
        with gr.Row():
            model = gr.Dropdown(label='Model', **model_choices(workdirs, names), min_width=280)
            image = gr.Number(3, precision=0, minimum=0, label='Image number', info='of the test split')
            level = gr.Slider(
                0, LEVELS, LEVELS // 2, step=1, label='Noise', info='from the image to noise', min_width=280
            )
        line = gr.HTML('', label='Progress')
        forward = gr.HTML(
            views.part(views.empty('A real image and its noise appear here.')),
            min_height=300,
            label='Forward process',
            elem_classes='result',
        )
        schedules = gr.HTML('', min_height=200, label='Schedules')
        report = gr.HTML('', min_height=100, label='Interpretation')
    made = Tab(workdirs, opened, first, model, image, level, [line, forward, schedules, report])
    fields = [model, image, level]
    model.input(with_error_toasts(made.show), fields, made.outputs, **QUIET)
    for field in (image, level):
        field.change(made.forward, fields, forward, trigger_mode='always_last', **QUIET)
    return made
