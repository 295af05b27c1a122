"""Notebooks without Jupyter: the cells run in order in one namespace, and commands of jaxgen in this process."""

import ast
import json
import pathlib
import re

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from jaxgen.apps import doctor
from jaxgen.cli import flags, modes
from jaxgen.io.files import absolute
from tests.helpers import commands

FOLDER = pathlib.Path(__file__).parents[2] / 'examples'
SKIPPED = {'network', 'accelerator'}  # tags of cells that need what a test does not have


def read(name):
    """Return the notebook in a file of examples/."""
    return json.loads((FOLDER / name).read_text())


def text_of(cell):
    """Return the source of a cell with each command of the shell in one line."""
    return re.sub(r'^(!(?:.*\\\n)+)', _in_one_line, ''.join(cell['source']), flags=re.MULTILINE)


def _in_one_line(match):
    return re.sub(r'\\\n\s*', '', match[0])


def tags_of(cell):
    """Return the tags of a cell."""
    return set(cell['metadata'].get('tags', ()))


def run(name, parameters, changes=None):
    """Run the cells of a notebook, but for those with a tag of ``SKIPPED``, and return what they would show.

    Args:
      name: the file in examples/.
      parameters: values of variables of the cell with the tag ``parameters``, in the place of its own.
      changes: values of fields of the config for the commands that the notebook runs, by dotted name.

    Returns:
      The pictures, figures among them, as arrays; and the variables of the notebook.
    """
    plt.switch_backend('agg')
    pictures, namespace = [], {'__name__': '__main__', 'run_command': lambda line: _run_commands(line, changes or {})}
    for cell in read(name)['cells']:
        if cell['cell_type'] != 'code' or tags_of(cell) & SKIPPED:
            continue
        value = _run_cell(text_of(cell), f'{name}, cell {cell["id"]}', namespace)
        if 'parameters' in tags_of(cell):
            assert parameters.keys() <= namespace.keys(), f'{name} has other parameters'
            namespace |= parameters
        pictures += [np.asarray(value)] if isinstance(value, Image.Image) else []
        pictures += [_rendered(plt.figure(number)) for number in plt.get_fignums()]
        plt.close('all')
    return pictures, namespace


def _run_cell(text, where, namespace):
    """Run a cell, and return the value of its last line if that is an expression."""
    python = re.sub(r'^!(.*)$', lambda line: f'run_command(f{line[1]!r})', text, flags=re.MULTILINE)
    tree, value = ast.parse(python, where), None
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, where, 'exec'), namespace)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), where, 'eval'), namespace)
    return value


def _rendered(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def _run_commands(line, changes):
    """Run the commands of jaxgen in a line of the shell with other values of some fields."""
    for words in commands.commands_of(line):
        argv = commands.own_arguments(words)
        assert argv is not None, f'{words[0]} is no command of jaxgen: tag its cell as one to skip'
        mode, config = commands.resolved(argv)
        if mode == 'doctor':
            doctor.run()
            continue
        fitting = {field: value for field, value in changes.items() if field.partition('.')[0] in config.sections}
        arguments = flags.parse(argv)
        workdir = arguments.workdir or flags.default_workdir(arguments.config)
        modes.run(mode, config.replace(fitting), absolute(workdir))
