"""Write the pages of the reference that are generated from the code: ``python -m docs.reference.make``."""

from __future__ import annotations

import inspect
import pathlib
import re
from collections.abc import Iterator, Mapping

from jaxgen.apps.config import RunOptions, section_classes
from jaxgen.cli.modes import MODES
from jaxgen.diffusion import compatibility
from jaxgen.methods import METHODS
from jaxgen.schema import Options, specs
from jaxgen.types import Fields

FOLDER = pathlib.Path(__file__).parent
TITLES = {
    'ddpm': 'Diffusion models',
    'dcgan': 'DCGAN',
    'r3gan': 'R3GAN',
    'judge': 'The classifier that judges',
}


def pages() -> dict[str, str]:
    """Return the text of each generated page by its file name."""
    return {'config.md': config(), 'modes.md': modes(), 'compatibility.md': what_goes_together()}


def modes() -> str:
    """Return the page of the modes: what each does, an example, and the sections that it reads besides the shared ones."""
    lines = [
        '# Modes',
        '',
        '`python main.py --config=configs/NAME.py[:VARIANT] [--workdir=runs/NAME] [--mode=MODE] [--config.FIELD=VALUE ...]`',
        '',
        'Without `--mode` a model is trained. After `pip install .`, `jaxgen` is the same command as `python main.py`.',
        'Besides the modes below, `--mode=help` shows all fields of a config with their values, and `--mode=doctor` says what',
        'this machine has and what is missing.',
    ]
    for name, mode in MODES.items():
        lines += ['', f'## {name}', '', f'{mode.help[0].upper()}{mode.help[1:]}.', '', '```bash', mode.example, '```']
        if mode.sections:
            lines += ['', f'Fields: {", ".join(f"[`{section}`](config.md#{section})" for section in mode.sections)}.']
    return '\n'.join(lines) + '\n'


def config() -> str:
    """Return the page with all fields of the configs of all methods."""
    lines = [
        '# Configuration',
        '',
        'Set a field in a config file (`c.data.batch_size = 64`) or on the command line (`--config.data.batch_size=64`).',
        '`None` means "not set". `--mode=help --config=FILE` shows the values of all fields in a config. The first part of this',
        'page lists the fields that all methods share; the other parts list those that a method has in addition or instead.',
        '',
        '## All methods',
        '',
        *_table('', RunOptions, {}),
    ]
    sections = {family: section_classes(family) for family in METHODS}
    first = next(iter(sections.values()))
    shared = {name: cls for name, cls in first.items() if all(other.get(name) is cls for other in sections.values())}
    for name, options in shared.items():
        lines += _section(f'### {name}', name, options, {})
    for family, own in sections.items():
        lines += ['', f'## {TITLES.get(family, family)}', '', f'`family={family}`']
        defaults = METHODS[family].defaults
        if defaults:
            changes = [
                f'`{section}.{name}={value}`' for section, values in defaults.items() for name, value in values.items()
            ]
            lines += ['', f'Other defaults of the shared fields: {", ".join(changes)}.']
        for name, options in own.items():
            if name not in shared:
                lines += _section(f'### {family}: {name}', name, options, defaults.get(name, {}))
    return '\n'.join(lines) + '\n'


def what_goes_together() -> str:
    """Return the page that lists which schedules, predictions, weightings and samplers go together."""
    lines = [
        '# What goes together',
        '',
        'Each line is a noise schedule with a prediction, and the weightings of the loss and the samplers that go with both:',
        '`diffusion.schedule`, `diffusion.parameterisation`, `diffusion.weighting` (with `diffusion.variance`) and',
        '`sample.sampler`. Anything else is refused before training starts, and the message says why.',
        '',
        '```',
        compatibility.table(),
        '```',
    ]
    return '\n'.join(lines) + '\n'


def _section(title: str, name: str, options: type[Options], defaults: Fields) -> Iterator[str]:
    yield from ('', title, '', *(inspect.getdoc(options) or '').splitlines()[:1], '')
    yield from _table(f'{name}.', options, defaults)


def _table(prefix: str, options: type[Options], defaults: Mapping[str, object]) -> Iterator[str]:
    yield '| field | default | values | meaning |'
    yield '|---|---|---|---|'
    for name, spec in specs(options).items():
        default = defaults.get(name, spec.default)
        shown = ','.join(map(str, default)) if isinstance(default, tuple | list) else str(default)
        cells = (f'`{prefix}{name}`', f'`{shown}`' if shown else '', spec.expected, spec.help)
        yield '| ' + ' | '.join(re.sub(r'([|\[<])', r'\\\1', cell) for cell in cells) + ' |'


if __name__ == '__main__':
    for file, text in pages().items():
        (FOLDER / file).write_text(text)
