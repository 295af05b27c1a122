"""Examples to click, each of which chooses a model and classes, and starts sampling."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import gradio as gr

from jaxgen.apps import data
from jaxgen.apps.demo.settings import can_edit
from jaxgen.apps.demo.workdirs import Workdirs


class Example(NamedTuple):
    """An example of what the page can make.

    Attributes:
      label: text of the button.
      class_name: the class that is sampled; None for all classes.
      data: name of the data set that the model must have been trained on; None for any data set with the class.
      edits: whether the images are made from the example picture.
    """

    label: str
    class_name: str | None
    data: str | None = None
    edits: bool = False


EXAMPLES = {
    'ships': Example('Ships', 'ship'),
    'horses': Example('Horses', 'horse'),
    'dog from cat': Example('A dog from a cat', 'dog', edits=True),
    'breeds': Example('Dogs of many breeds', None, data='stanford_dogs'),
    'digits': Example('8x8 digits', None, data='digits'),
}
CAT = pathlib.Path(__file__).parents[1] / 'cat.png'  # image 467 of the test split of CIFAR-10
CAT_SOURCE = 'cifar10:test:467'


def model_of(workdirs: Workdirs, which: str) -> str | None:
    """Return the name of the best model that can make an example; None if there is none."""
    example = EXAMPLES[which]
    for name in workdirs.able_to_sample():
        config = workdirs.config(name)
        is_of_data = example.data in (None, config.data.name)
        knows_class = example.class_name is None or (
            config.model.conditional and example.class_name in data.facts(config).class_names
        )
        if is_of_data and knows_class and (not example.edits or can_edit(config)):
            return name
    return None


def buttons(workdirs: Workdirs) -> dict[str, gr.Button]:
    """Make a button for each example, hidden if no model can make the example."""
    made = {}
    with gr.Row(elem_classes='examples'):
        for which, example in EXAMPLES.items():
            is_possible = model_of(workdirs, which) is not None
            made[which] = gr.Button(example.label, size='sm', min_width=80, visible=is_possible)
    return made
