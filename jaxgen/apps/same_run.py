"""Check that a config is the one that a checkpoint was made with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jaxgen.apps.config import Config
from jaxgen.data.options import DataOptions
from jaxgen.errors import UserError
from jaxgen.schema import specs
from jaxgen.types import Fields

# Fields or sections that decide the parameters of a checkpoint (NETWORK_FIELDS), that a fine-tuned model shares with its base
# (BASE_FIELDS), and that decide every step of a run (RUN_FIELDS).
ELSEWHERE = ('path', 'max_refused')  # not compared: the fingerprint shows whether moved images are the same
ADAPTER_FIELDS = ('finetune.method', 'finetune.rank', 'finetune.alpha', 'finetune.targets')
NETWORK_FIELDS = (
    'family',
    'data.name',
    'data.classes',
    'data.image_size',
    'data.channels',
    'data.class_names',
    'model',
    'diffusion',
    'gan',
    *ADAPTER_FIELDS,
)
BASE_FIELDS = ('family', 'model', 'diffusion')
RUN_FIELDS = (
    'family',
    'model',
    'diffusion',
    'gan',
    'seed',
    *(f'data.{name}' for name in specs(DataOptions) if name not in ELSEWHERE),
    'optimizer',
    'train.grad_accumulation',
    'train.prng',
    *ADAPTER_FIELDS,
)


def run_fields(config: Config) -> tuple[str, ...]:
    """Return the fields that decide the steps of a run, with its length if a decay or stages end with the run."""
    optimizer = config.optimizer
    ends_with_the_run = optimizer.has_end and optimizer.decay_steps is None
    if 'diffusion' in config.sections:
        ends_with_the_run |= config.diffusion.has_stages and config.diffusion.consistency_stage_steps is None
    return (*RUN_FIELDS, 'train.steps') if ends_with_the_run else RUN_FIELDS


def require_same(
    config: Config,
    stored: Fields,
    fields: Iterable[str],
    where: str,
    otherwise: str = 'another --workdir',
) -> None:
    """Refuse a config that is not the one a checkpoint was made with.

    Args:
      config: the config to check.
      stored: the config of the checkpoint, as ``stored_config.modernised`` returns it; missing fields are not compared.
      fields: dotted names of the fields, or of sections of fields, that must agree.
      where: the run directory, for the message.
      otherwise: what the user can do instead, for the message.

    Raises:
      UserError: naming the first field that differs.
    """
    for name, now, then in differences(config.to_tree(), stored, fields):
        raise UserError(
            f'config.{name} is {now!r}, but the checkpoint in {where} was made with {then!r}: '
            f'pass {flag(name, then)}, or {otherwise}'
        )


def differences(config: Fields, stored: Fields, fields: Iterable[str]) -> Iterator[tuple[str, object, object]]:
    """Yield ``(name, value in config, value in stored)`` for the fields in which two configs differ, as JSON values."""
    now = flatten(config)
    for name, then in flatten(stored).items():
        if any(name == f or name.startswith(f'{f}.') for f in fields) and _plain(now.get(name)) != _plain(then):
            yield name, _plain(now.get(name)), _plain(then)


def flag(name: str, value: object) -> str:
    """Return the command-line argument that sets a field to a value."""
    text = ','.join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f'--config.{name}={text}'


def flatten(tree: Fields, prefix: str = '') -> Fields:
    """Return the leaves of nested mappings by their dotted names."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat.update(flatten(value, f'{prefix}{key}.') if isinstance(value, Mapping) else {prefix + key: value})
    return flat


def _plain(value: object) -> Any:
    return list(value) if isinstance(value, tuple) else value
