"""Whether a config is that of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ml_collections import ConfigDict

from jaxgen.errors import UserError

# What a checkpoint is made of, and what decides the steps that made it; what a network has in common with its base.
ADAPTER_FIELDS = ('finetune.method', 'finetune.rank', 'finetune.alpha', 'finetune.targets')
NETWORK_FIELDS = (
    'family',
    'data.name',
    'data.classes',
    'data.image_size',
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
    'data',
    'optimizer',
    'train.grad_accumulation',
    'train.prng',
    *ADAPTER_FIELDS,
)


def run_fields(config: ConfigDict) -> tuple[str, ...]:
    """Return the fields that decide the steps of a run: a decay that ends with the run depends on its length."""
    optimizer = config.optimizer
    ends_with_the_run = optimizer.decay != 'none' and optimizer.decay_steps is None
    return (*RUN_FIELDS, 'train.steps') if ends_with_the_run else RUN_FIELDS


def require_same(config: ConfigDict, stored: dict, fields, where: str, otherwise: str = 'another --workdir') -> None:
    """Refuses a config that is not the one a checkpoint was made with.

    Args:
      stored: the config of the checkpoint, as in ``config.json``; a field that did not exist then is
        not compared.
      fields: dotted names of the fields, or groups of fields, that must agree.
      where: the workdir, for the message.
      otherwise: what else to pass, likewise.

    Raises:
      UserError: naming the first field that differs.
    """
    for name, now, then in differences(json.loads(config.to_json()), stored, fields):
        raise UserError(
            f'config.{name} is {now!r}, but the checkpoint in {where} was made with {then!r}: '
            f'pass {flag(name, then)}, or {otherwise}'
        )


def differences(config: dict, stored: dict, fields) -> Iterator[tuple[str, object, object]]:
    """``(name, value in config, value in stored)`` of the fields in which two configs differ, as in ``require_same``."""
    now = flatten(config)
    for name, value in flatten(stored).items():
        if any(name == f or name.startswith(f'{f}.') for f in fields) and now.get(name) != value:
            yield name, now.get(name), value


def flag(name: str, value) -> str:
    """The argument of the command line that gives a field this value."""
    return f'--config.{name}={_argument(value)}'


def _argument(value) -> str:
    return ','.join(map(str, value)) if isinstance(value, list) else f"'{value}'" if value == '' else str(value)


def flatten(tree: dict, prefix: str = '') -> dict:
    """The leaves of nested dicts by dotted name."""
    flat = {}
    for key, value in tree.items():
        flat.update(flatten(value, f'{prefix}{key}.') if isinstance(value, dict) else {prefix + key: value})
    return flat
