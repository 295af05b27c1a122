"""What ``config.sweep`` says: a grid of values, or a list of settings.

A grid is ``field:value,value;field:value,value``, a list ``field=value,field=value | field=value``: there a setting has
the config's own value of a field that only others name. A field is a whole name, ``diffusion.timesteps``, the last part
of one where only one ends so, ``timesteps``, or one of ``ALIASES``. A value is of the field's type; in a tuple ``x``
stands between the numbers, ``1x2x2``, and within a text ``+`` stands for a comma, ``color+cutout``. Both may be empty.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any

from ml_collections import ConfigDict

from jaxgen.apps.same_run import RUN_FIELDS, flatten
from jaxgen.errors import UserError, check, pick

ALIASES = {'width': 'model.base_channels'}
Setting = dict[str, Any]  # a value for each swept field, by its whole name

# What can be swept is what makes a model, and how it draws.
SWEPT = (*RUN_FIELDS, 'train.steps', 'sample')
ONE_REFERENCE = 'figures against different references do not compare: use --mode=compare within each'
NO_DIFFERENCE = 'it makes no difference to what is judged'
NOT_SWEPT = {
    'seed': 'config.sweeps.seeds says with how many seeds each setting is run',
    'family': 'families have different fields: use --mode=compare',
    **dict.fromkeys(('data.name', 'data.classes', 'data.image_size', 'data.crop'), ONE_REFERENCE),
    **dict.fromkeys(('sample.num', 'sample.batch_size', 'sample.every', 'sample.name'), NO_DIFFERENCE),
}


def settings(text: str, config: ConfigDict) -> list[Setting]:
    """The settings in the order in which they are written, all with the same fields; of a grid the last field runs fastest.

    Raises:
      UserError: for what is no such text, a field that does not exist, is ambiguous, cannot be swept or stands twice, a
        value of the wrong type or that stands twice.
    """
    flat = flatten(config.to_dict())
    listed = '=' in text or '|' in text
    found = _listed(text, flat) if listed else _grid(text, flat)
    check(
        bool(found),
        "config.sweep is empty: name fields and their values, as in --config.sweep='timesteps:100,1000;width:32,64'",
    )
    for i, setting in enumerate(found):
        check(setting not in found[:i], f'config.sweep has the setting {describe(setting, flat)} twice')
    return found


def _grid(text: str, flat: Mapping[str, Any]) -> list[Setting]:
    choices: dict[str, list[Any]] = {}
    for part in filter(str.strip, text.split(';')):
        name, colon, values = part.partition(':')
        check(
            bool(colon) and ':' not in values,
            f'config.sweep: {part.strip()!r} is not field:value,value (with ; before the next field)',
        )
        field = _new_field(name.strip(), flat, choices)
        choices[field] = [parse(value.strip(), field, flat[field]) for value in values.split(',')]
    return (
        [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())] if choices else []
    )


def _listed(text: str, flat: Mapping[str, Any]) -> list[Setting]:
    found: list[Setting] = []
    for part in filter(str.strip, text.split('|')):
        setting: Setting = {}
        for pair in part.split(','):
            name, equals, value = pair.partition('=')
            check(
                bool(equals) and '=' not in value,
                f'config.sweep: {pair.strip()!r} is not field=value; a list of settings is '
                f'field=value,field=value | field=value, and a grid field:value,value;field:value',
            )
            field = _new_field(name.strip(), flat, setting)
            setting[field] = parse(value.strip(), field, flat[field])
        found.append(setting)
    named = dict.fromkeys(field for setting in found for field in setting)
    return [{field: setting.get(field, flat[field]) for field in named} for setting in found]


def _new_field(name: str, flat: Mapping[str, Any], before: Iterable[str]) -> str:
    field = whole_name(name, flat)
    check(field not in before, f'config.sweep sets config.{field} twice')
    return field


def whole_name(name: str, flat: Mapping[str, Any]) -> str:
    """The field that a name stands for.

    Args:
      flat: all fields of the config by their whole names.

    Raises:
      UserError: if there is none, there are several, or it cannot be swept.
    """
    name = name.removeprefix('config.')
    ends_so = [field for field in flat if _last(field) == name]
    if name in flat:
        field = name
    elif ALIASES.get(name) in flat:
        field = ALIASES[name]
    else:
        check(len(ends_so) < 2, f'config.sweep: {name!r} may be {" or ".join(ends_so)}: write the whole name')
        known = {**{_last(field): field for field in flat}, **{field: field for field in flat}}
        field = known[pick(name, known, 'config.sweep: the field')]
    within = any(field == f or field.startswith(f'{f}.') for f in SWEPT)
    reason = NOT_SWEPT.get(field, '' if within else 'it makes no other model')
    check(not reason, f'config.sweep: config.{field} cannot be swept, since {reason}')
    return field


def _last(field: str) -> str:
    return field.rpartition('.')[2]


def short_name(field: str, flat: Mapping[str, Any]) -> str:
    """The last part of a field's name, or the whole where others end so, too."""
    alone = sum(_last(other) == _last(field) for other in flat) == 1
    return _last(field) if alone else field


def _truth(text: str) -> bool:
    return {'true': True, 'false': False}[text.lower()]


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


PARSERS = {
    bool: (_truth, 'True or False'),
    int: (int, 'a whole number'),
    float: (_number, 'a number'),
    str: (lambda text: text.replace('+', ','), 'a text'),
    NoneType: (int, 'a whole number'),  # a field that is not set
    tuple: (lambda text: tuple(int(n) for n in text.split('x')) if text else (), 'whole numbers with x between them'),
}


def parse(text: str, field: str, now: Any) -> Any:
    """A value of the type of ``now``.

    Raises:
      UserError: if it is none.
    """
    reads, what = PARSERS[type(now)]
    try:
        return reads(text)
    except (ValueError, KeyError) as e:
        raise UserError(
            f'config.sweep: {text!r} is no value of config.{field}, which is {what} (now {show(now)})'
        ) from e


def show(value: Any) -> str:
    """A value as ``parse`` reads it."""
    if isinstance(value, tuple):
        return 'x'.join(map(str, value))
    return str(value).replace(',', '+')


def describe(setting: Setting, flat: Mapping[str, Any], between: str = ', ') -> str:
    """``timesteps=100, base_channels=32``: for people, and as the name of a folder."""
    return between.join(f'{short_name(field, flat)}={show(value)}' for field, value in setting.items())
