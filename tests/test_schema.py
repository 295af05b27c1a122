"""Options: every field of every section refuses what is outside its declaration, in a sentence that names the field."""

import dataclasses
import math

import pytest

from jaxgen.apps.config import SHARED, RunOptions
from jaxgen.errors import UserError
from jaxgen.methods import METHODS
from jaxgen.schema import OptionError, Options, from_tree, located, option, require, spec, specs, to_tree

SECTIONS = dict.fromkeys(
    [RunOptions, *SHARED.values(), *(options for method in METHODS.values() for options in method.sections.values())]
)
FIELDS = [(options, name) for options in SECTIONS for name in specs(options)]
HUGE, ENORMOUS = 2**31, 10**400
NUMBERS = (-1, 0, 1, -0.5, 0.0, 0.5, 1.0, math.nan, math.inf, -math.inf, HUGE, -HUGE, ENORMOUS, 1e308, True)
OTHERS = (None, '', ' ', 'nothing', b'', object(), {}, {'a': 1}, (), [], (None,), ('',), ('nothing', 3), ((),))
VALUES = (*NUMBERS, *OTHERS, *((number,) for number in NUMBERS))
TEXTS = (
    '',
    ' ',
    'None',
    'nan',
    'inf',
    '-1',
    '0',
    '1e999',
    'nothing',
    '()',
    '(1, 2)',
    '1,2',
    ',',
    'True',
    '0x1',
    str(ENORMOUS),
)


def holds(value, declaration):
    """Whether a value is one that a field declares, written anew from the metadata of the field."""
    if value is None:
        return declaration.optional
    elements = value if declaration.many else (value,)
    if declaration.many and not (isinstance(value, tuple) and (value or declaration.empty)):
        return False
    return all(element_holds(element, declaration) for element in elements)


def element_holds(element, declaration):
    limits = declaration.limits
    if type(element) is not declaration.type:
        return False
    if declaration.type is str:
        return bool(element.strip()) and (declaration.names is None or element in declaration.names)
    if declaration.type is bool:
        return True
    return (
        math.isfinite(element)
        and limits.get('at_least', -math.inf) <= element <= limits.get('at_most', math.inf)
        and limits.get('above', -math.inf) < element < limits.get('below', math.inf)
    )


def assert_holds_or_is_refused(make, options, name):
    try:
        value = make()
    except OptionError as e:
        assert str(e).startswith(e.field) and e.field in specs(options) and name in str(e), str(e)
        assert '\n' not in str(e) and 'Error' not in str(e)
    else:
        assert holds(value, specs(options)[name]), (options, name, value)


@pytest.mark.parametrize(('options', 'name'), FIELDS, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_a_field_takes_what_it_declares_and_nothing_else(options, name):
    for value in VALUES:
        assert_holds_or_is_refused(lambda value=value: getattr(options(**{name: value}), name), options, name)
    for text in TEXTS:
        assert_holds_or_is_refused(lambda text=text: spec(options, name).parsed(text), options, name)


@pytest.mark.parametrize('options', SECTIONS, ids=lambda options: options.__name__)
def test_defaults_hold_and_survive_json(options):
    defaults = options()
    assert from_tree(options, to_tree(defaults)) == defaults
    for name, declaration in specs(options).items():
        assert holds(getattr(defaults, name), declaration)


@pytest.mark.parametrize(('options', 'name'), FIELDS, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_help_is_one_sentence_and_says_what_none_means(options, name):
    declaration = spec(options, name)
    assert declaration.help and declaration.help[-1] not in '.;, ' and '\n' not in declaration.help
    if declaration.optional:
        assert 'not set' in declaration.help or 'needed by' in declaration.help or 'fills in' in declaration.help
    with_range = declaration.limits or declaration.choices or declaration.type in (bool, str)
    assert with_range, 'a number has a range'


CHOICES = {'a': 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example(Options):
    rate: float = option(0.5, 'a share', above=0, at_most=1)
    count: int | None = option(None, 'a number; none if not set', at_least=1)
    sizes: tuple[int, ...] = option((1, 2), 'sizes', at_least=1)
    names: tuple[str, ...] | None = option(None, 'names; none if not set', choices=lambda: CHOICES)
    flip: bool = option(False, 'a truth value')
    text: str | None = option(None, 'any text; none if not set')

    def check(self):
        require(self.count != 13, 'count', f'={self.count} brings bad luck')


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        ({'rate': -1.0}, 'rate=-1.0 must be above 0'),
        ({'rate': 2}, 'rate=2 must be at most 1'),
        ({'rate': math.nan}, 'rate=nan must be finite'),
        ({'rate': '0.5'}, 'rate=0.5 must be a number, above 0, at most 1'),
        ({'count': 0}, 'count=0 must be at least 1; for none, leave it out or set it to None'),
        ({'count': 1.0}, 'count=1.0 must be a whole number, at least 1, or None'),
        ({'count': True}, 'count=True must be a whole number'),
        ({'count': HUGE}, f'count={HUGE} is too large: it must be at most {HUGE - 1}'),
        ({'count': 13}, 'count=13 brings bad luck'),
        ({'sizes': (1, 0)}, 'sizes=1,0: each value must be at least 1'),
        ({'sizes': ()}, 'sizes is empty, and must name at least one value'),
        ({'sizes': 3}, 'sizes=3 must be whole numbers separated by commas, at least 1'),
        ({'names': ()}, 'names is empty, and must name at least one value: leave it out, or set it to None'),
        ({'names': ('b',)}, "names 'b' does not exist; did you mean a?"),
        ({'flip': 1}, 'flip=1 must be True or False'),
        ({'text': ''}, 'text must not be empty: leave it out, or set it to None'),
    ],
)
def test_what_a_refusal_says(values, sentence):
    with pytest.raises(OptionError) as e:
        Example(**values)
    assert str(e.value).startswith(sentence)


@pytest.mark.parametrize(
    ('name', 'text', 'value'),
    [
        ('rate', '1', 1.0),
        ('rate', '5e-1', 0.5),
        ('count', '1_000', 1000),
        ('count', 'None', None),
        ('count', '', None),
        ('sizes', '8', (8,)),
        ('sizes', '1,2', (1, 2)),
        ('sizes', '(1, 2)', (1, 2)),
        ('sizes', '[1,2,]', (1, 2)),
        ('names', 'a', ('a',)),
        ('names', "('a',)", ('a',)),
        ('names', 'none', None),
        ('names', '()', None),
        ('flip', 'True', True),
        ('flip', 'f', False),
        ('text', ' a b ', 'a b'),
        ('text', "'a'", 'a'),
    ],
)
def test_what_a_text_of_the_command_line_means(name, text, value):
    assert spec(Example, name).parsed(text) == value


def test_values_have_the_declared_type():
    example = Example(rate=1, sizes=[3])
    assert type(example.rate) is float and example.sizes == (3,)
    assert to_tree(example)['sizes'] == [3]


def test_choices_are_those_of_the_moment():
    CHOICES['late'] = 2
    try:
        assert Example(names=('late',)).names == ('late',)
    finally:
        del CHOICES['late']


def test_unknown_fields_name_the_nearest():
    with pytest.raises(UserError, match="the field 'rates' does not exist; did you mean rate"):
        from_tree(Example, {'rates': 1})


def test_an_error_can_be_told_its_place():
    with (
        pytest.raises(OptionError, match='^config.example.rate=0 must be above 0$'),
        located('config.'),
        located('example.'),
    ):
        Example(rate=0)


def test_the_field_of_an_argument_stands_before_a_sentence():
    with pytest.raises(UserError, match='^config.example.path: it is not a file$'), located('config.example.path'):
        raise UserError('it is not a file')
