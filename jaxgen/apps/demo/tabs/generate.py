"""The tab Generate: samples of a model, their settings, and the command that makes the same samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import gradio as gr

from jaxgen.apps.config import Config
from jaxgen.apps.demo import engine, inputs, links, views
from jaxgen.apps.demo.engine import Progress
from jaxgen.apps.demo.sessions import Sessions
from jaxgen.apps.demo.settings import command_line
from jaxgen.apps.demo.tabs import examples, replay
from jaxgen.apps.demo.tabs.parts import (
    MODEL_INPUTS,
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
    model_line,
    progress_view,
    seed_field,
    shown_steps,
    with_error_toasts,
)
from jaxgen.apps.demo.tabs.status import Status
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.errors import UserError
from jaxgen.io import images
from jaxgen.io.pictures import read_file
from jaxgen.methods import METHODS
from jaxgen.types import Fields

FIRST = engine.BATCH_SIZES[-1]  # number of images at first
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
    """The inputs of the tab, and the samples made with them.

    Attributes:
      workdirs: the run directories.
      first: the model that was chosen when the page was built; None if there was none.
      shown: the text about it and its grid when the page was built, as HTML.
      model: the choice of the model.
      about: the text about the model.
      fields: the other inputs, by their names.
      output: the samples.
      more: the box with further settings.
      replay: the steps from noise to the samples.
      examples: the buttons of the examples, by their names.
    """

    workdirs: Workdirs
    first: str | None
    shown: tuple[str, str]
    model: gr.Dropdown
    about: gr.HTML
    fields: Mapping[str, gr.components.Component]
    output: gr.HTML
    more: gr.Accordion
    replay: replay.Replay
    examples: Mapping[str, gr.Button]

    def on_load(self, page: gr.Blocks) -> None:
        """Make the choices of a link when the page is opened, or else bring up to date what was built before."""
        chosen = [self.model, *self.of_model(), self.fields['seed'], self.fields['count'], *self.examples.values()]
        opened = page.load(self._opened, None, chosen, **QUIET)
        current = opened.then(self._current, self.model, [self.about, self.output], **QUIET)
        current.then(None, None, None, js=PRESS_IF_LINKED)

    def of_model(self) -> list[Part]:
        """Return the components that depend on the model."""
        return [self.about, self.output, self.more, self.replay.box, *(self.fields[name] for name in MODEL_INPUTS)]

    def choose(self, model: str | None) -> list[Update]:
        """Return updates of the components that depend on the model, among them its kept samples."""
        return self._choose(inputs.read(model=model).model)

    def choose_example(self, which: str) -> Callable[[], list[Update]]:
        """Return a function that returns the updates for an example: of the model and of what depends on it."""

        def choose() -> list[Update]:
            name, class_name = examples.model_of(self.workdirs, which), examples.EXAMPLES[which].class_name
            asked = inputs.read(model=name, classes=() if class_name is None else (class_name,))
            return [gr.Dropdown(value=name), *self._choose(name, links.Linked(asked, frozenset(('classes',))))]

        return with_error_toasts(choose)

    def sample(
        self, model, classes, sampler, steps, own_steps, guidance, eta, seed, count, request: gr.Request
    ) -> Iterator[tuple[Update, ...]]:
        """Yield the samples as HTML after each step, and the updates of the replay."""
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
                yield views.part(views.empty(NO_MODEL)), *NOTHING_NEW
                return
            yield from self._sample(asked, request)
        except UserError as e:
            yield views.note(str(e)), *NOTHING_NEW

    def _sample(self, asked: inputs.Inputs, request: gr.Request) -> Iterator[tuple[Update, ...]]:
        name = str(asked.model)
        title = self.workdirs.titles().get(name, name)
        fields = {
            'seed': asked.seed or 0,
            'sample.num': asked.images,
            'sample.classes': asked.classes or None,
            'sample.sampler': asked.sampler,
            'sample.num_steps': asked.steps,
            'sample.guidance_scale': asked.guidance,
            'sample.eta': asked.eta if asked.sampler == 'ddim' else 0.0,
        }
        if not self.workdirs.has_read(name):
            yield views.part(views.busy('the model', f'Reading the model {title} ...')), *NOTHING_NEW
        chosen = self.workdirs.model(name)
        way: list[Progress] = []
        what = f'{asked.images} images of {title}'
        job, calls = job_of(request), chosen.network_calls(fields)
        job.start(calls, what)
        for step in shown_steps(job.paid(chosen.generate(fields), calls)):
            replay.record(way, step)
            if not step.is_last:
                yield views.part(progress_view(step, what, chosen)), *NOTHING_NEW
                continue
            result = self._result(asked, chosen, fields, step)
            controls = self.replay.keep(way if chosen.denoises else [], request)
            yield views.part(progress_view(step, what, chosen), result), *controls

    def _opened(self, request: gr.Request) -> list[Update]:
        """Return the updates that a link asks for; without a link, the choices that the visitor may have made stay."""
        names = self.workdirs.able_to_sample()
        shown = [gr.update(visible=examples.model_of(self.workdirs, which) is not None) for which in self.examples]
        try:
            linked = links.read(str(request.query_params))
            if linked is not None:
                self.workdirs.path(str(linked.asked.model))
        except UserError as e:
            gr.Warning(views.text(str(e)))
            linked = None
        if linked is None and self.first in names:
            others = [gr.skip()] * (len(self.of_model()) + 2)
            return [choices_update(model_choices(self.workdirs, names), [self.first]), *others, *shown]
        first = linked.asked.model if linked is not None else next(iter(names), None)
        seed = gr.update(value=linked.asked.seed or 0) if linked is not None else gr.skip()
        count = gr.update(value=linked.asked.images) if linked is not None else gr.skip()
        model = gr.update(choices=self.workdirs.choices(names), value=first)
        return [model, *self._choose(first, linked), seed, count, *shown]

    def _current(self, model: str | None) -> list[Update]:
        """Return updates of the text about the first model and of its grid, if they changed after the page was built."""
        chosen = inputs.read(model=model).model
        if chosen is None or chosen != self.first or _shown(self.workdirs, chosen) == self.shown:
            return [gr.skip()] * 2
        return [*_shown(self.workdirs, chosen)]

    def _choose(self, name: str | None, linked: links.Linked | None = None) -> list[Update]:
        config = None if name is None else self.workdirs.config(name)
        found = model_inputs(config, linked)
        if_it_denoises = gr.update(visible=_denoises(config))
        updates = [gr.update(**found[field]) for field in MODEL_INPUTS]
        return [*_shown(self.workdirs, name), if_it_denoises, if_it_denoises, *updates]

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


def _denoises(config: Config | None) -> bool:
    return config is not None and METHODS[config.method].supports.denoises


def _shown(workdirs: Workdirs, name: str | None) -> tuple[str, str]:
    """Return the text about a model, and its finished grid, as HTML."""
    if name is None:
        return '', views.part(views.empty(NO_MODEL))
    about, kept = model_line(workdirs, name), workdirs.kept_grid(name)
    if kept is None:
        return about, views.part(views.empty(NO_SAMPLES))
    file = read_file(kept.file, str(kept.file))
    narrow = None if kept.narrow_file is None else read_file(kept.narrow_file, str(kept.narrow_file))
    ((title, _),) = workdirs.choices([name])
    return about, views.part(views.grid(file, f'{kept.what}: {title}', f'{title}: {kept.what}', narrow=narrow))


def tab(workdirs: Workdirs, sessions: Sessions, status: Status) -> Tab:
    """Make the tab with the inputs and the kept samples of the best model, which the page shows as soon as it is loaded."""
    names = workdirs.able_to_sample()
    first = next(iter(names), None)
    config = None if first is None else workdirs.config(first)
    shown = _shown(workdirs, first)
    with gr.Tab('Generate', id='generate'), gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            model = gr.Dropdown(label='Model', **model_choices(workdirs, names))
            about = gr.HTML(shown[0], label='About the model')
            fields, more, go, stop = _settings(model_inputs(config), _denoises(config))
        with gr.Column(scale=3, min_width=280, elem_classes='first-on-phones'):
            buttons = examples.buttons(workdirs)
            output = gr.HTML(shown[1], min_height=200, label='Samples', elem_classes='result')
            again = replay.make('generate', sessions, is_shown=_denoises(config))
    made = Tab(workdirs, first, shown, model, about, fields, output, more, again, buttons)
    model.input(with_error_toasts(made.choose), model, made.of_model(), **QUIET)
    asked, outputs = [model, *fields.values()], [output, *again.controls]
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


def _settings(
    of_model: Mapping[str, Fields], has_more: bool
) -> tuple[dict[str, gr.components.Component], gr.Accordion, gr.Button, gr.Button]:
    """Make the inputs and the two buttons.

    Args:
      of_model: the properties of the inputs that depend on the model, of ``model_inputs``.
      has_more: whether the model has further settings.

    Returns:
      The inputs, by their names and in the order of the arguments of ``Tab.sample``; the box with further settings; and the
      buttons that start and stop.
    """
    classes = gr.Dropdown(label='Classes', info='if empty, each class in turn', multiselect=True, **of_model['classes'])
    steps = Steps.make(of_model['steps'], of_model['own_steps'])
    with gr.Row():
        count = gr.Slider(1, engine.MAX_IMAGES, FIRST, step=1, label='Images', min_width=140)
        seed = seed_field()
    with gr.Row():
        go, stop = (
            gr.Button('Generate', variant='primary', elem_id=GO, scale=3, min_width=120),
            gr.Button('Stop', min_width=80),
        )
    with gr.Accordion('More settings', open=False, visible=has_more) as more:
        sampler = gr.Dropdown(label='Sampler', **of_model['sampler'])
        guidance = gr.Slider(1, 10, step=0.1, label='Guidance', info='1: none', **of_model['guidance'])
        eta = gr.Slider(0, 1, step=0.05, label='Eta', info='of DDIM: how much new noise a step adds', **of_model['eta'])
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
