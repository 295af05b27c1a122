"""Parse ``config.sweep.settings``: a grid of values, or a list of settings.

A grid is ``field:value,value;field:value,value``. A list is ``field=value,field=value | field=value``; a setting that leaves out
a field of the other settings has the config's value for it.

A field is written as its whole name, as in ``diffusion.timesteps``; as its last part if no other field ends in it, as in
``timesteps``; or as one of ``ALIASES``. A value is written as on the command line, except for its commas, since commas separate
values: write ``x`` between the numbers of a tuple, as in ``1x2x2``, and ``+`` between names, as in ``color+cutout``. An empty
value or ``None`` means "not set".
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence

from jaxgen.apps.config import Config, field_names, section_classes
from jaxgen.apps.same_run import RUN_FIELDS
from jaxgen.errors import UserError, check, pick
from jaxgen.schema import OptionError, Spec, spec

ALIASES = {'width': 'model.base_channels'}
Setting = dict[str, object]  # a value for each swept field, by its whole name

# The fields that decide a model and its samples; only these can be swept
SWEPT = (*RUN_FIELDS, 'train.steps', 'sample')
ONE_REFERENCE = 'metrics against different references cannot be compared: use --mode=compare within each'
NO_DIFFERENCE = 'it does not change the metrics'
NOT_SWEPT = {
    'seed': 'config.sweep.seeds says with how many seeds each setting is run',
    'family': 'methods have different fields: use --mode=compare',
    **dict.fromkeys(('data.name', 'data.classes', 'data.image_size', 'data.crop'), ONE_REFERENCE),
    **dict.fromkeys(('sample.num', 'sample.batch_size', 'sample.every', 'sample.name'), NO_DIFFERENCE),
}
WHERE = 'config.sweep.settings'


def settings(text: str, config: Config) -> list[Setting]:
    """Return the settings in the order in which they are written; in a grid the last field varies fastest.

    Args:
      text: the grid or the list.
      config: the config to which the settings will be applied.

    Returns:
      The settings; all have the same fields.

    Raises:
      UserError: if the text is neither a grid nor a list; if a field does not exist, is ambiguous, cannot be swept or
        is named twice; if a value is refused or a setting is written twice.
    """
    is_list = '=' in text or '|' in text
    found = _list(text, config) if is_list else _grid(text, config)
    check(
        bool(found),
        f"{WHERE} names no field: write fields and their values, as in --{WHERE}='timesteps:100,1000;width:32,64'",
    )
    for i, setting in enumerate(found):
        name = describe(setting, field_names(config.method))
        check(setting not in found[:i], f'{WHERE} has the setting {name} twice: leave one of them out')
    return found


def _grid(text: str, config: Config) -> list[Setting]:
    choices: dict[str, list[object]] = {}
    for part in filter(str.strip, text.split(';')):
        name, colon, values = part.partition(':')
        check(
            bool(colon) and ':' not in values,
            f'{WHERE}: {part.strip()!r} is not field:value,value (with ; before the next field)',
        )
        field = _new_field(name, config, choices)
        choices[field] = [parse(value, field, _spec(field, config)) for value in values.split(',')]
    if not choices:
        return []
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


def _list(text: str, config: Config) -> list[Setting]:
    found: list[Setting] = []
    for part in filter(str.strip, text.split('|')):
        setting: Setting = {}
        for pair in part.split(','):
            name, equals, value = pair.partition('=')
            check(
                bool(equals) and '=' not in value,
                f'{WHERE}: {pair.strip()!r} is not field=value; a list of settings is '
                f'field=value,field=value | field=value, and a grid field:value,value;field:value',
            )
            field = _new_field(name, config, setting)
            setting[field] = parse(value, field, _spec(field, config))
        found.append(setting)
    named = dict.fromkeys(field for setting in found for field in setting)
    own = {field: _own_value(field, config) for field in named}
    return [{**own, **setting} for setting in found]


def _new_field(name: str, config: Config, before: Container[str]) -> str:
    field = whole_name(name.strip(), field_names(config.method))
    check(field not in before, f'{WHERE} sets config.{field} twice: name it once')
    return field


def whole_name(name: str, fields: Sequence[str]) -> str:
    """Return the whole name of the field that a short name stands for.

    Args:
      name: a whole name, its last part, or an alias.
      fields: the whole names of all fields of the config.

    Raises:
      UserError: if there is no such field, there are several, or the field cannot be swept.
    """
    name = name.removeprefix('config.')
    ends_so = [field for field in fields if _last(field) == name]
    if name in fields:
        field = name
    elif ALIASES.get(name) in fields:
        field = ALIASES[name]
    else:
        check(len(ends_so) < 2, f'{WHERE}: {name!r} may be {" or ".join(ends_so)}: write the whole name')
        known = {**{_last(field): field for field in fields}, **{field: field for field in fields}}
        field = known[pick(name, known, f'{WHERE}: the field')]
    is_swept = any(field == f or field.startswith(f'{f}.') for f in SWEPT)
    reason = NOT_SWEPT.get(field, None if is_swept else 'it does not change the model')
    check(reason is None, f'{WHERE}: config.{field} cannot be swept, since {reason}')
    return field


def _last(field: str) -> str:
    return field.rpartition('.')[2]


def short_name(field: str, fields: Sequence[str]) -> str:
    """Return the last part of a field's name, or the whole name if another of the ``fields`` ends in the same part."""
    is_unique = sum(_last(other) == _last(field) for other in fields) == 1
    return _last(field) if is_unique else field


def _spec(field: str, config: Config) -> Spec:
    section, _, name = field.partition('.')
    return spec(section_classes(config.method)[section], name)


def _own_value(field: str, config: Config) -> object:
    section, _, name = field.partition('.')
    return getattr(config.sections[section], name)


def parse(text: str, field: str, spec: Spec) -> object:
    """Return the value of a field that a text stands for.

    Args:
      text: the value, with ``x`` or ``+`` instead of commas.
      field: the whole name of the field, for the message.
      spec: the declaration of the field.

    Raises:
      UserError: if the field refuses the value.
    """
    text, comma = text.strip(), _comma(spec)
    try:
        return spec.parsed(text if comma is None else text.replace(comma, ','))
    except OptionError as e:
        hint = f'; in a sweep, write {comma} instead of the commas' if spec.many else ''
        raise UserError(f'{WHERE}: {text!r} is not a value of config.{field}: {e}{hint}') from e


def _comma(spec: Spec) -> str | None:
    """Return what replaces a comma within a value, since commas separate values; None for values without commas."""
    if spec.type is str:
        return '+'
    return 'x' if spec.many else None


def show(value: object) -> str:
    """Return a value in the form that ``parse`` reads."""
    if isinstance(value, tuple):
        between = '+' if any(isinstance(element, str) for element in value) else 'x'
        return between.join(map(str, value))
    return str(value).replace(',', '+')


def describe(setting: Setting, fields: Sequence[str], between: str = ', ') -> str:
    """Return a setting as text, as in ``timesteps=100, base_channels=32``.

    Args:
      setting: the setting.
      fields: the whole names of all fields of the config.
      between: the separator between two fields.
    """
    return between.join(f'{short_name(field, fields)}={show(value)}' for field, value in setting.items())
