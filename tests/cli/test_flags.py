"""The command line: which arguments it understands, and what config they make."""

import json
import pathlib
import sys

import pytest

from jaxgen.apps.config import SHARED, Config
from jaxgen.cli import flags
from jaxgen.diffusion.schedules import SCHEDULES
from jaxgen.errors import UserError
from jaxgen.methods import METHODS

ROOT = pathlib.Path(__file__).parents[2]
DIGITS = f'--config={ROOT}/configs/ddpm_digits.py'
CIFAR = f'--config={ROOT}/configs/ddpm_cifar.py'


def config_of(*argv):
    return Config.from_tree(flags.load(flags.parse(argv)).to_dict(), SHARED)


def test_values_stand_after_an_equals_sign_or_alone():
    expected = flags.Arguments('a.py:b', 'sample', 'runs/x', (('sample.num', '4'), ('gan.diffusion_target', '-0.5')))
    together = ('--config=a.py:b', '--mode=sample', '--workdir=runs/x', '--config.sample.num=4')
    apart = ('--config', 'a.py:b', '--mode', 'sample', '-workdir', 'runs/x', '--config.sample.num', '4')
    assert flags.parse((*together, '--config.gan.diffusion_target=-0.5')) == expected
    assert flags.parse((*apart, '--config.gan.diffusion_target', '-0.5')) == expected


@pytest.mark.parametrize(
    'fields',
    [
        ('--config.sample.num=4', '--config.data.random_flip', '--config.sample.classes=3,8'),
        ('--config.sample.num', '4', '--config.data.random_flip=true', '--config.sample.classes', "('3', '8')"),
    ],
)
def test_the_order_of_arguments_does_not_matter(fields):
    for argv in ((DIGITS, *fields), (*fields, DIGITS), (*fields[-2:], DIGITS, *fields[:-2])):
        config = config_of(*argv)
        assert (config.sample.num, config.data.random_flip, config.sample.classes) == (4, True, ('3', '8'))


def test_a_home_directory_is_written_out(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    arguments = flags.parse(['--config=~/c.py:small', '--workdir=~/runs/x'])
    assert (arguments.config, arguments.workdir) == ('/home/me/c.py:small', '/home/me/runs/x')
    assert flags.parse(['--workdir=gs://bucket/~x']).workdir == 'gs://bucket/~x'


def test_the_last_of_two_values_counts():
    assert config_of('--config.sample.num=5', DIGITS, '--config.sample.num=4').sample.num == 4


def test_truth_values_are_set_by_their_name_alone():
    assert config_of('--config.data.random_flip', DIGITS).data.random_flip
    assert not config_of(CIFAR, '--noconfig.data.random_flip').data.random_flip
    assert not config_of(CIFAR, '--config.data.random_flip=False').data.random_flip


@pytest.mark.parametrize('unset', ['', 'None', 'none'])
def test_an_empty_text_and_none_mean_not_set(unset):
    fields = ('data.max_examples', 'optimizer.ema_decay', 'data.classes', 'finetune.base', 'evaluation.ema_lengths')
    config = config_of(f'{CIFAR}:one_class', *(f'--config.{name}={unset}' for name in fields))
    assert [getattr(config.sections[n.split('.')[0]], n.split('.')[1]) for n in fields] == [None] * len(fields)


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        (['train'], "'train' is not a flag; flags begin with --"),
        (['--wrkdir=x'], 'the flag --wrkdir does not exist; did you mean --workdir?'),
        (['--confg.data.batch_size=8'], 'did you mean --config.data.batch_size?'),
        (['--data.name=digits'], 'did you mean --config.data.name?'),
        (['--seed=3'], 'the flag --seed does not exist; did you mean --config.seed?'),
        (['--config.seed=3', '--'], "'--' is not a flag"),
        (['\u2013\u2013mode=train'], 'is not a flag'),
        (['--mode=train', '--mode=sample'], '--mode is given twice, as train and as sample: leave one of them out'),
        (['--workdir=a', '--workdir=b'], '--workdir is given twice, as a and as b'),
        (['--workdir='], '--workdir needs a value: write --workdir=VALUE'),
        (['--workdir=~nobody_here/x'], "--workdir=~nobody_here/x: there is no user 'nobody_here' here"),
        (['--workdir=a\x07b'], '--workdir=a\\x07b has characters that are not text'),
        (['--config.data.batch_size='], "config.data.batch_size='' must be a whole number, at least 1"),
        (['--config.data.name='], 'config.data.name must not be empty'),
        (['--config.data.batch_size=\u0663'], 'must be a whole number'),
        (['--config.model.channel_multipliers=1,,2'], 'config.model.channel_multipliers=1,,2 must be whole numbers'),
        (['--config.model.channel_multipliers=nan'], 'config.model.channel_multipliers=nan must be whole numbers'),
        (['--config.'], '--config. does not exist'),
        (['--config.=3'], '--config. does not exist'),
        (['--noconfig.data.random_flip=False'], '--noconfig.data.random_flip takes no value'),
        (['--noconfig.data.batch_size'], 'config.data.batch_size=False must be a whole number'),
        (['--mode'], '--mode needs a value: write --mode=VALUE'),
        (['--config.sample.num'], '--config.sample.num needs a value'),
        (['--config.data.max_examples=0'], 'config.data.max_examples=0 must be at least 1; for none, leave it out'),
        (['--config.optimizer.ema_decay=0'], 'config.optimizer.ema_decay=0.0 must be above 0; for none, leave it out'),
        (['--config.sweeps.figure=kit'], "config.sweep.metric 'kit' does not exist; did you mean kid"),
        (['--config.sample.nums=4'], '--config.sample.nums does not exist; did you mean config.sample.num?'),
        (['--config.sapmle.num=4'], '--config.sapmle.num does not exist; did you mean config.sample.num'),
        (
            ['--config.learning_rat=4'],
            '--config.learning_rat does not exist; did you mean config.optimizer.learning_rate',
        ),
        (['--config.gan.loss=hinge'], '--config.gan.loss does not exist'),
        (['--config.xyzzy=4'], '--mode=help with this --config lists all fields'),
        (['--config.data=digits'], '--config.data does not exist; did you mean'),
        (['--config.family=dcgan'], 'config.family=dcgan does not fit the fields of the config file'),
        (['--config.plugins=no_such_module'], 'config.plugins=no_such_module cannot be imported'),
    ],
)
def test_refused_in_one_sentence(argv, words):
    with pytest.raises(UserError) as e:
        config_of(DIGITS, *argv)
    assert words in str(e.value) and '\n' not in str(e.value)


def test_values_of_a_config_file_are_checked(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text('from jaxgen import config\ndef get_config():\n  c = config.base()\n  c.seed = -1\n  return c\n')
    with pytest.raises(UserError, match='^config.seed=-1 must be at least 0$'):
        config_of(f'--config={file}')


def test_the_sweep_of_earlier_command_lines():
    before = (
        '--config.sweep=width:8,16',
        '--config.sweeps.images=100',
        '--config.sweeps.seeds=2',
        '--config.sweeps.figure=fid',
    )
    now = ('--config.sweep.settings=width:8,16', '--config.sweep.images=100', '--config.sweep.seeds=2')
    assert config_of(DIGITS, *before).sweep == config_of(DIGITS, *now, '--config.sweep.metric=fid').sweep
    assert config_of(DIGITS, '--config.sweeps.images=0').sweep.images is None


@pytest.mark.parametrize(
    ('config', 'workdir'),
    [
        ('configs/ddpm_cifar.py', 'runs/ddpm_cifar'),
        ('configs/ddpm_cifar.py:edm', 'runs/ddpm_cifar-edm'),
        ('configs/mine.py:a=1,b', 'runs/mine-a_1_b'),
        ('runs/x/config.json', 'runs/x'),
        ('config.json', '.'),
        ('runs/a:b/config.json', 'runs/a:b'),
    ],
)
def test_where_a_run_lives_by_default(config, workdir):
    assert flags.default_workdir(config) == workdir


def test_a_stored_config_is_a_config(tmp_path):
    written = config_of(f'{CIFAR}:edm', '--config.sample.num=7')
    (tmp_path / 'config.json').write_text(json.dumps(written.to_tree()))
    read = config_of('--config.sample.eta=1', f'--config={tmp_path}/config.json')
    assert read == written.replace({'sample.eta': 1.0})


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Return the name of a module in the current folder that registers a schedule and a method."""
    code = """
import dataclasses
from jaxgen.diffusion.schedules import SCHEDULES
from jaxgen.methods import METHODS
from jaxgen.methods.dcgan import DCGAN
from jaxgen.schema import Options, option

@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnOptions(Options):
    temperature: float = option(0.5, 'how hot', above=0)

class Own(DCGAN):
    sections = {**DCGAN.sections, 'own': OwnOptions}
    defaults = {'train': {'steps': 7}}

SCHEDULES['own'] = SCHEDULES['cosine']
METHODS['own'] = Own
"""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    (tmp_path / 'own_plugin.py').write_text(code)
    yield 'own_plugin'
    sys.modules.pop('own_plugin', None)
    SCHEDULES.pop('own', None)
    METHODS.pop('own', None)


def test_what_a_plugin_registers_can_be_chosen(plugin):
    with pytest.raises(UserError, match="config.diffusion.schedule 'own' does not exist"):
        config_of(DIGITS, '--config.diffusion.schedule=own')
    config = config_of('--config.diffusion.schedule=own', f'--config.plugins={plugin}', DIGITS)
    assert config.diffusion.schedule == 'own' and config.run.plugins == (plugin,)


def test_a_method_of_a_plugin_has_sections_and_defaults(plugin, tmp_path):
    file = tmp_path / 'own.py'
    file.write_text('from jaxgen import config\ndef get_config():\n  return config.base("own")\n')
    config = config_of(f'--config.plugins={plugin}', '--config.own.temperature=2', f'--config={file}')
    assert config.own.temperature == 2 and config.train.steps == 7 and config.method == 'own'
    (tmp_path / 'config.json').write_text(json.dumps(config.to_tree()))
    METHODS.pop('own')
    sys.modules.pop(plugin)
    assert config_of(f'--config={tmp_path}/config.json').to_tree() == config.to_tree()
