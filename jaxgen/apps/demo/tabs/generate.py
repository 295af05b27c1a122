"""The tab Generate: samples of a model, the settings that decide them, and the command that makes the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import gradio as gr

from jaxgen.apps.demo import engine, inputs, links, views
from jaxgen.apps.demo.engine import Progress
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.settings import command_line
from jaxgen.apps.demo.tabs import examples, replay
from jaxgen.apps.demo.tabs.parts import (
    QUIET,
    USES_DEVICE,
    Part,
    Steps,
    Update,
    job_of,
    model_inputs,
    model_line,
    progress_view,
    seed_field,
    shown_steps,
    with_error_toasts,
)
from jaxgen.apps.demo.tabs.status import Status
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.errors import UserError
from jaxgen.io import images
from jaxgen.io.pictures import read_file
from jaxgen.methods import METHODS
from jaxgen.types import Fields

FIRST = engine.BATCH_SIZES[-1]  # number of images at first
OF_MODEL = ('classes', 'sampler', 'steps', 'own_steps', 'guidance', 'eta')
GO = 'generate'  # identifier of the button
NO_SAMPLES = 'Press Generate: the samples appear here.'
NO_MODEL = 'Samples appear here when there is a model.'
# A link asks for its grid at once; the address of the page becomes the link to the grid that is shown.
PRESS = f"() => document.getElementById('{GO}').click()"
PRESS_IF_LINKED = f"() => {{ if (new URLSearchParams(location.search).has('model')) ({PRESS})(); }}"
KEEP_LINK = """() => { const link = document.querySelector('a.share');
  if (link) history.replaceState(null, '', link.getAttribute('href')); }"""


@dataclasses.dataclass(frozen=True)
class Tab:
    """The inputs of the tab, and the samples made with them."""

    workdirs: Workdirs
    model: gr.Dropdown
    about: gr.HTML
    fields: Mapping[str, gr.components.Component]
    output: gr.HTML
    more: gr.Accordion
    replay: replay.Replay
    examples: Mapping[str, gr.Button]

    def on_load(self, page: gr.Blocks) -> None:
        """Choose the best model, or what a link asks for, when the page is opened."""
        chosen = [self.model, *self.of_model(), self.fields['seed'], self.fields['count'], *self.examples.values()]
        opened = page.load(self._opened, None, chosen, **QUIET)
        opened.then(None, None, None, js=PRESS_IF_LINKED)

    def of_model(self) -> list[Part]:
        """Return the components that depend on the model."""
        return [self.about, self.output, self.more, self.replay.box, *(self.fields[name] for name in OF_MODEL)]

    def choose(self, model: str | None) -> list[Update]:
        """Return updates of the components that depend on the model, with the samples that are kept with it."""
        return self._choose(inputs.read(model=model).model)

    def choose_example(self, which: str) -> Callable[[], list[Update]]:
        """Return a function that returns updates of the model and of what depends on it, as an example has them."""

        def choose() -> list[Update]:
            name, class_name = examples.model_of(self.workdirs, which), examples.EXAMPLES[which].class_name
            asked = inputs.read(model=name, classes=() if class_name is None else (class_name,))
            return [gr.Dropdown(value=name), *self._choose(name, links.Linked(asked, frozenset(('classes',))))]

        return with_error_toasts(choose)

    def sample(
        self, model, classes, sampler, steps, own_steps, guidance, eta, seed, count, request: gr.Request
    ) -> Iterator[tuple[str, Update]]:
        """Yield the samples as HTML after each step, and the slider over the steps."""
        try:
            asked = inputs.read(
                model=model,
                classes=classes,
                sampler=sampler,
                steps=inputs.steps_asked(steps, own_steps),
                guidance=guidance,
                eta=eta,
                seed=seed,
                images=count,
            )
            if asked.model is None:
                yield views.part(views.empty(NO_MODEL)), gr.skip()
                return
            yield from self._sample(asked, request)
        except UserError as e:
            yield views.note(str(e)), gr.skip()

    def _sample(self, asked: inputs.Inputs, request: gr.Request) -> Iterator[tuple[str, Update]]:
        name = str(asked.model)
        fields = {
            'seed': asked.seed or 0,
            'sample.num': asked.images,
            'sample.classes': asked.classes or None,
            'sample.sampler': asked.sampler,
            'sample.num_steps': asked.steps,
            'sample.guidance_scale': asked.guidance,
            'sample.eta': asked.eta if asked.sampler == 'ddim' else 0.0,
        }
        chosen = self.workdirs.model(name)
        way: list[Progress] = []
        what = f'{asked.images} images of {self.workdirs.titles().get(name, name)}'
        job, calls = job_of(request), chosen.network_calls(fields)
        job.start(calls, what)
        for step in shown_steps(job.paid(chosen.generate(fields), calls)):
            replay.record(way, step)
            if not step.is_last:
                yield views.part(progress_view(step, what, chosen)), gr.skip()
                continue
            result = self._result(asked, chosen, fields, step)
            slider = self.replay.keep(way if chosen.denoises else [], request)
            yield views.part(progress_view(step, what, chosen), result), slider

    def _opened(self, request: gr.Request) -> list[Update]:
        names = self.workdirs.able_to_sample()
        shown = [gr.Button(visible=examples.model_of(self.workdirs, which) is not None) for which in self.examples]
        try:
            linked = links.read(str(request.query_params))
            if linked is not None:
                self.workdirs.path(str(linked.asked.model))
        except UserError as e:
            gr.Warning(views.text(str(e)))
            linked = None
        first = linked.asked.model if linked is not None else next(iter(names), None)
        seed = gr.Number(value=linked.asked.seed or 0) if linked is not None else gr.skip()
        count = gr.Slider(value=linked.asked.images) if linked is not None else gr.skip()
        model = gr.Dropdown(choices=self.workdirs.choices(names), value=first)
        return [model, *self._choose(first, linked), seed, count, *shown]

    def _choose(self, name: str | None, linked: links.Linked | None = None) -> list[Update]:
        if name is None:
            return ['', views.part(views.empty(NO_MODEL)), *[gr.skip()] * (2 + len(OF_MODEL))]
        config = self.workdirs.config(name)
        found = model_inputs(config, linked)
        if_it_denoises = gr.Accordion(visible=METHODS[config.method].supports.denoises)
        about = model_line(self.workdirs, name)
        return [
            about,
            _kept(self.workdirs, name),
            if_it_denoises,
            if_it_denoises,
            *(found[field] for field in OF_MODEL),
        ]

    @staticmethod
    def _result(asked: inputs.Inputs, model: engine.Model, fields: Fields, made: Progress) -> str:
        name, grid, arrays = str(asked.model), images.png(made.picture()), images.npz(images=made.images)
        return (
            views.link(links.write(asked), 'Link to this grid')
            + views.download('samples.png', grid, 'image/png', 'Download PNG')
            + views.download('samples.npz', arrays, 'application/octet-stream', 'Download npz')
            + f'<p class="small">Step {model.trained.step:,} of {views.text(name)}</p>'
            + views.command(command_line(name, 'sample', model.config, fields))
        )


def _kept(workdirs: Workdirs, name: str) -> str:
    """Return the finished grid of a model as HTML."""
    kept = workdirs.kept_grid(name)
    if kept is None:
        return views.part(views.empty(NO_SAMPLES))
    path, what = kept
    ((title, _),) = workdirs.choices([name])
    return views.part(views.grid(read_file(path, str(path)), f'{what}: {title}', f'{title}: {what}'))


def tab(workdirs: Workdirs, sessions: Sessions, status: Status) -> Tab:
    """Make the tab."""
    names = workdirs.able_to_sample()
    first = next(iter(names), None)
    with gr.Tab('Generate', id='generate'), gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            model = gr.Dropdown(label='Model', choices=workdirs.choices(names), value=first)
            about = gr.HTML('', label='About the model')
            fields, more, go, stop = _settings()
        with gr.Column(scale=3, min_width=280, elem_classes='first-on-phones'):
            buttons = examples.buttons()
            # A page that is just loaded shows them at once, before any event of it is served.
            kept = _kept(workdirs, first) if first else views.part(views.empty(NO_MODEL))
            output = gr.HTML(kept, min_height=200, label='Samples', elem_classes='result')
            again = replay.make('generate', sessions)
    made = Tab(workdirs, model, about, fields, output, more, again, buttons)
    model.input(with_error_toasts(made.choose), model, made.of_model(), **QUIET)
    asked, outputs = [model, *fields.values()], [output, again.slider]
    status.watch(go)
    sampling = go.click(made.sample, asked, outputs, scroll_to_output=True, show_progress_on=output, **USES_DEVICE)
    sampling.then(None, None, None, js=KEEP_LINK)
    sampling.then(again.after_step, again.slider, again.view, **QUIET)
    stop.click(None, None, None, cancels=sampling, api_visibility='private')
    for which, button in buttons.items():
        if not examples.EXAMPLES[which].edits:
            chosen = button.click(made.choose_example(which), None, [model, *made.of_model()], **QUIET)
            chosen.then(None, None, None, js=PRESS)
    return made


def _settings() -> tuple[dict[str, gr.components.Component], gr.Accordion, gr.Button, gr.Button]:
    """Make the inputs, in the order in which ``Tab.sample`` takes them, what hides some of them, and the two buttons."""
    classes = gr.Dropdown(label='Classes', info='none: all in turn', multiselect=True)
    steps = Steps.make()
    with gr.Row():
        count = gr.Slider(1, engine.MAX_IMAGES, FIRST, step=1, label='Images', min_width=140)
        seed = seed_field()
    with gr.Row():
        go, stop = (
            gr.Button('Generate', variant='primary', elem_id=GO, scale=3, min_width=120),
            gr.Button('Stop', min_width=80),
        )
    with gr.Accordion('More settings', open=False) as more:
        sampler = gr.Dropdown(label='Sampler', choices=list(SAMPLERS))
        guidance = gr.Slider(1, 10, 1, step=0.1, label='Guidance', info='1: none')
        eta = gr.Slider(0, 1, 0, step=0.05, label='Eta', info='of DDIM: how much new noise a step adds')
    fields: dict[str, gr.components.Component] = {
        'classes': classes,
        'sampler': sampler,
        'steps': steps.choice,
        'own_steps': steps.own,
        'guidance': guidance,
        'eta': eta,
        'seed': seed,
        'count': count,
    }
    return fields, more, go, stop
