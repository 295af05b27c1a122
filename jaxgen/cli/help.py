"""Write the text of ``--mode=help``: the modes, or the fields of a config."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from ml_collections import ConfigDict

from jaxgen.apps.config import Config, RunOptions, section_classes
from jaxgen.cli.modes import MODES
from jaxgen.diffusion import compatibility
from jaxgen.io.run_directory import PARAMETERS
from jaxgen.methods import METHODS
from jaxgen.schema import Options, specs
from jaxgen.types import Fields

USAGE = (
    'python main.py --config=configs/NAME.py[:VARIANT] [--workdir=runs/NAME] [--mode=MODE] [--config.FIELD=VALUE ...]'
)


def modes() -> str:
    """Return a line and an example for each mode."""
    lines = [USAGE, '']
    for name, mode in MODES.items():
        lines += [f'  --mode={name}: {mode.help}', f'      {mode.example}']
    lines += [
        '  --mode=doctor: show versions, devices and their speed, where files are, and how to get what is missing',
        '      python main.py --mode=doctor',
        '  --mode=help: show this text; with a --config, all of its fields and the parameters of its model by block',
        '      python main.py --mode=help --config=configs/ddpm_digits.py',
    ]
    return '\n'.join(lines)


def fields(draft: ConfigDict) -> str:
    """Return two lines for each field of a config: name, value, default if that differs, meaning and type."""
    lines = [*_section('', RunOptions, draft, {})]
    for section, options in section_classes(draft.family).items():
        summary, *_ = (inspect.getdoc(options) or '').splitlines()
        lines += ['', f'{section}: {summary}']
        lines += _section(f'{section}.', options, draft[section], METHODS[draft.family].defaults.get(section, {}))
    if 'diffusion' in draft:
        lines += ['', 'What goes together in config.diffusion and config.sample.sampler:', '', compatibility.table()]
    return '\n'.join([*lines, '', *_parameters(draft)])


def _parameters(draft: ConfigDict) -> Iterator[str]:
    """Yield a table of the parameters by block, or where training will write it if that needs data or a base model."""
    import jax

    from jaxgen.apps.untrained import build
    from jaxgen.data.options import kind_of
    from jaxgen.models.parameters import table

    config = Config.from_tree(draft.to_dict())
    if kind_of(config.data.name) is not None or config.finetune.base is not None:
        yield f'When training begins, it writes the parameters of the model by block to {PARAMETERS} of the run directory.'
        return
    method, _ = build(config)
    yield 'The parameters of the model by block:'
    yield ''
    yield table(jax.eval_shape(lambda key: method.networks(method.with_frozen(method.init(key))), jax.random.key(0)))


def _section(prefix: str, options: type[Options], values: Fields, defaults: Fields) -> Iterator[str]:
    for name, spec in specs(options).items():
        value, default = values[name], defaults.get(name, spec.default)
        changed = '' if value == default else f' (default: {_shown(default)})'
        yield f'  --config.{prefix}{name}={_shown(value)}{changed}'
        yield f'      {spec.help} [{spec.expected}]'


def _shown(value: object) -> str:
    return ','.join(map(str, value)) if isinstance(value, tuple | list) else str(value)
