"""Options: every field of every section refuses what is outside its declaration, in a sentence that names the field."""

import dataclasses
import math

import numpy as np
import pytest

from jaxgen.apps.config import SHARED, RunOptions
from jaxgen.cli.flags import CommonFlags
from jaxgen.cli.flagship import FlagshipOptions
from jaxgen.errors import UserError
from jaxgen.methods import METHODS
from jaxgen.schema import OptionError, Options, from_tree, located, option, require, spec, specs, to_tree

SECTIONS = dict.fromkeys(
    [
        RunOptions,
        CommonFlags,
        FlagshipOptions,
        *SHARED.values(),
        *(options for method in METHODS.values() for options in method.sections.values()),
    ]
)
FIELDS = [(options, name) for options in SECTIONS for name in specs(options)]
HUGE, ENORMOUS = 2**31, 10**400
NUMBERS = (-1, 0, 1, -0.5, 0.0, 0.5, 1.0, math.nan, math.inf, -math.inf, HUGE, -HUGE, ENORMOUS, 1e308, True)
NUMBERS += (-0.0, 1e-320, 1 - 1e-12, 1e30, 10**30, 2**63, 10**5000, np.float64(0.5), np.int64(1))
OTHERS = (None, '', ' ', 'nothing', b'', object(), {}, {'a': 1}, (), [], (None,), ('',), ('nothing', 3), ((),))
OTHERS += (
    '~nobody_here/x',
    '~',
    '\udc80',
    'a\x00b',
    'a\nb',
    'x' * 5000,
    'x' * 10**5,
    ('x' * 300,),
    (1,) * 1001,
    float,
    len,
)
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
    '1' * 5000,
    '1e-320',
    '-0.0',
    '1_000',
    ' 5',
    '\u0663',
    '\uff13',
    '(1,2',
    '1,,2',
    'nan,1',
    ',1',
    '[]',
    '~nobody_here/x',
    '\udc80',
    'x' * 10**5,
    '9' * 30,
)


def holds(value, declaration):
    """Return whether a value is one that a field declares, computed independently from the metadata of the field."""
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
        known = declaration.names is None or element in declaration.names
        return bool(element.strip()) and known and text_holds(element, declaration.path)
    if declaration.type is bool:
        return True
    with np.errstate(over='ignore'):
        single = float(np.float32(element)) if declaration.type is float else element
    return (
        math.isfinite(single)
        and single < limits.get('below', math.inf)
        and single > limits.get('above', -math.inf)
        and math.copysign(1, element or 1) == math.copysign(1, element)
        and limits.get('at_least', -math.inf) <= element <= limits.get('at_most', math.inf)
        and limits.get('above', -math.inf) < element < limits.get('below', math.inf)
    )


def text_holds(text, is_path):
    """Return whether a text can be printed and written in UTF-8 and, if it is a path, can be one of Linux."""
    clean = text.isprintable() or (not is_path and text.replace('\n', '').isprintable())
    return clean and len(text) <= 10_000 and not (is_path and (text.startswith('~') or len(text) > 4096))


def assert_holds_or_is_refused(make, options, name):
    try:
        value = make()
    except OptionError as e:
        assert str(e).startswith(e.field) and e.field in specs(options) and name in str(e), str(e)
        assert str(e).isprintable() and 'Error' not in str(e) and len(str(e)) < 800
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


@pytest.mark.parametrize(('options', 'name'), FIELDS, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_every_number_has_a_range_with_two_ends(options, name):
    declaration = spec(options, name)
    if declaration.type not in (int, float):
        return
    assert {'at_least', 'above'} & {*declaration.limits}
    assert declaration.type is int or {'at_most', 'below'} & {
        *declaration.limits
    }  # a whole number is below 2**31 anyway
    assert all(abs(limit) <= 2**32 for limit in declaration.limits.values())


PATHS = {
    'config', 'workdir', 'data', 'pack', 'adapter', 'base', 'generated', 'reference', 'inception_weights', 'dinov2_weights',
    'judge', 'workdirs', 'input', 'other', 'mask', 'python', 'baseline', 'path', 'labels', 'init_from', 'guide',
}  # fmt: skip


def test_each_path_has_its_home_directory_written_out(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    declared = [(options, name) for options, name in FIELDS if spec(options, name).path]
    assert {name for _, name in declared} == PATHS
    for options, name in declared:
        many = spec(options, name).many
        for text, path in (
            ('~/x', '/home/me/x'),
            ('~', '/home/me'),
            ('gs://b/~x', 'gs://b/~x'),
            ('cifar10:test', None),
        ):
            value = getattr(options(**{name: (text,) if many else text}), name)
            assert value == ((path or text,) if many else path or text)


CHOICES = {'a': 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example(Options):
    rate: float = option(0.5, 'a share', above=0, at_most=1)
    count: int | None = option(None, 'a number; none if not set', at_least=1)
    sizes: tuple[int, ...] = option((1, 2), 'sizes', at_least=1)
    names: tuple[str, ...] | None = option(None, 'names; none if not set', choices=lambda: CHOICES)
    flip: bool = option(False, 'a truth value')
    text: str | None = option(None, 'any text; none if not set')
    file: str | None = option(None, 'a path; none if not set', path=True)

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
        ({'rate': 1e-320}, 'rate=1e-320 must be above 0, and is 0 in the 32 bits of a float32'),
        ({'sizes': (1,) * 1001}, 'sizes has 1,001 values, and must have at most 1,000'),
        ({'text': 'a\udc80'}, 'text=a\\udc80 has characters that are not text: write it in UTF-8'),
        ({'text': 'x' * 20_000}, f'text={"x" * 80}... is longer than 10,000 characters'),
        ({'file': '~nobody_here/x'}, "file=~nobody_here/x: there is no user 'nobody_here' here; write the whole path"),
        ({'file': 'x' * 300}, f'file={"x" * 80}... is longer than a path can be: 255 bytes a name'),
        ({'flip': 1}, 'flip=1 must be True or False'),
        ({'text': ''}, 'text must not be empty: leave it out, or set it to None'),
    ],
)
def test_messages_of_refusals(values, sentence):
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
        ('rate', ' 1 ', 1.0),
        ('flip', 'True', True),
        ('flip', 'f', False),
        ('text', ' a b ', 'a b'),
        ('text', "'a'", 'a'),
    ],
)
def test_texts_of_the_command_line_are_parsed(name, text, value):
    assert spec(Example, name).parsed(text) == value


@pytest.mark.parametrize(
    ('name', 'text'),
    [('sizes', '1,,2'), ('sizes', ',1'), ('sizes', '(1,2'), ('sizes', '1,2]'), ('count', '\u0663'), ('count', '(1)'),
     ('rate', '\uff11'), ('names', 'a,,a'), ('flip', 'yes'), ('count', '1' * 5000)],
)  # fmt: skip
def test_texts_that_cannot_be_parsed_are_refused(name, text):
    with pytest.raises(OptionError, match=f'^{name}=') as e:
        spec(Example, name).parsed(text)
    assert 'must be' in str(e.value)


def test_a_negative_zero_is_zero():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Zero(Options):
        scale: float = option(0.0, 'a number', at_least=0, at_most=1)

    assert math.copysign(1, Zero(scale=-0.0).scale) == 1


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


def test_the_place_of_an_argument_is_put_before_an_error():
    with (
        pytest.raises(OptionError, match='^config.example.rate=0 must be above 0$'),
        located('config.'),
        located('example.'),
    ):
        Example(rate=0)


def test_the_field_of_an_argument_stands_before_a_sentence():
    with pytest.raises(UserError, match='^config.example.path: it is not a file$'), located('config.example.path'):
        raise UserError('it is not a file')
