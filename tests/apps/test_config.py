"""The config of a run: which sections it has, how it changes, and how it is stored."""

import copy
import importlib
import pathlib
import pickle
import re

import pytest

from jaxgen.apps import rules
from jaxgen.apps.config import MODEL, SHARED, Config, base, field_names
from jaxgen.errors import UserError
from jaxgen.methods import METHODS
from tests.tiny import tiny_config, tiny_draft

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'


def configs():
    for path in sorted(CONFIGS.glob('*.py')):
        for variant in ('', *re.findall(r"variant == '(\w+)'", path.read_text())):
            yield path.stem, variant


@pytest.mark.parametrize(('name', 'variant'), [*configs()])
def test_every_config_is_valid_with_all_sections(name, variant):
    draft = importlib.import_module(f'configs.{name}').get_config(*filter(None, [variant]))
    if draft.data.name == 'folder':  # what is known once its images are prepared
        draft.data.class_names, draft.data.channels = ('a', 'b'), 3
    config = Config.from_tree(draft.to_dict(), SHARED)
    rules.validate(config)
    assert Config.from_tree(config.to_tree(), SHARED) == config


@pytest.mark.parametrize('family', METHODS)
def test_a_mode_has_its_own_sections_alone(family):
    config = Config.from_tree(base(family).to_dict(), ['likelihood'])
    assert {*config.sections} == {*MODEL, *METHODS[family].sections, 'likelihood'}
    assert config.likelihood.num == 1000
    with pytest.raises(AttributeError, match="the config has no section 'edit' here; this mode loads data, "):
        _ = config.edit


@pytest.mark.parametrize('family', METHODS)
def test_a_draft_has_every_field_with_its_default(family):
    draft = base(family)
    names = [name for name in draft if not hasattr(draft[name], 'keys')]
    names += [f'{section}.{name}' for section in draft if hasattr(draft[section], 'keys') for name in draft[section]]
    assert sorted(names) == sorted(field_names(family))


def test_methods_have_defaults_of_their_own():
    assert [base(name).train.steps for name in ('ddpm', 'judge')] == [800_000, 480]
    assert [base(name).optimizer.ema_decay for name in ('ddpm', 'dcgan', 'judge')] == [0.9999, 0.999, 0.95]
    assert Config.from_tree({'family': 'judge'}).data.batch_size == 1024


def test_replace_changes_fields_and_sections():
    config, other = tiny_config(), tiny_config(**{'mesh.fsdp': 2})
    changed = config.replace({'seed': 3, 'sample.num': 4, 'sample.classes': ['3'], 'mesh': other.mesh})
    assert (changed.seed, changed.sample.num, changed.sample.classes, changed.mesh.fsdp) == (3, 4, ('3',), 2)
    assert config.seed == 0 and config == tiny_config()
    with pytest.raises(UserError, match='^config.sample.num=0 must be at least 1$'):
        config.replace({'sample.num': 0})
    with pytest.raises(UserError, match='^config.seed=-1 must be at least 0$'):
        config.replace({'seed': -1})


def test_values_of_one_section_change_together():
    config = tiny_config(**{'sample.guidance_low': 1.0, 'sample.guidance_high': 2.0})
    changed = config.replace({'sample.guidance_low': 3.0, 'sample.guidance_high': 4.0})
    assert changed.sample.guidance_low == 3.0


def test_a_config_can_be_copied_and_sent():
    config = tiny_config()
    assert copy.deepcopy(config) == config and pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize(
    ('tree', 'words'),
    [
        ({'family': 'ddmp'}, "config.family 'ddmp' does not exist; did you mean ddpm"),
        ({'gan': {'loss': 'hinge'}}, 'config.gan does not exist'),
        ({'data': {'nam': 'digits'}}, 'config.data.nam does not exist; did you mean config.data.name?'),
        ({'data': 'digits'}, 'config.data=digits is a section, whose fields are name, path'),
        ({'data': {'name': 3}}, 'config.data.name=3 must be a text'),
        ({'seed': 1.5}, 'config.seed=1.5 must be a whole number'),
    ],
)
def test_trees_that_are_no_config(tree, words):
    with pytest.raises(UserError, match=re.escape(words)):
        Config.from_tree(tree, SHARED)


def test_a_draft_refuses_fields_that_do_not_exist():
    with pytest.raises(AttributeError, match='batch_size'):
        tiny_draft().data.bath_size = 8


@pytest.mark.parametrize(
    ('family', 'fields', 'words'),
    [
        ('ddpm', {'sample.ema_length': 0.1}, 'config.sample.ema_length needs the snapshots'),
        ('ddpm', {'sample.ema_length': 0.1, 'sample.ema': False}, 'config.sample.ema_length=0.1 needs ema=True'),
        ('ddpm', {'evaluation.ema_lengths': (0.0, 0.1)}, 'config.evaluation.ema_lengths needs the snapshots'),
        ('dcgan', {'evaluation.ema_lengths': (0.1,)}, 'config.evaluation.ema_lengths needs the snapshots'),
        ('dcgan', {'finetune.base': 'x'}, 'config.finetune.base=x needs a diffusion model, and family=dcgan is none'),
        ('judge', {'sample.adapter': 'x'}, 'config.sample.adapter=x needs a diffusion model'),
        (
            'ddpm',
            {'data.image_size': 1024, 'train.steps_per_dispatch': 10_000, 'train.steps': 9000},
            'config.train.steps_per_dispatch: 144,000 images of 1024',
        ),
        (
            'dcgan',
            {'sample.batch_size': 10**8 - 1, 'data.image_size': 64},
            'config.sample.batch_size: 99,999,999 images',
        ),
        ('ddpm', {'sample.num': 10**8, 'data.image_size': 64}, 'config.sample.num: 100,000,000 images of 64x64x1 take'),
        ('ddpm', {'likelihood.split': 'tset'}, "config.likelihood.split 'tset' does not exist; did you mean test"),
        (
            'ddpm',
            {'diffusion.label_dropout': 0.1, 'model.conditional': False},
            'config.diffusion.label_dropout=0.1 needs',
        ),
        ('ddpm', {'sample.guidance_scale': 2.0}, 'config.sample.guidance_scale=2.0 needs a network that was trained'),
        (
            'ddpm',
            {'optimizer.decay': 'cosine', 'optimizer.warmup_steps': 12},
            'config.optimizer.warmup_steps=12 must be',
        ),
    ],
)
def test_sections_that_do_not_go_together(family, fields, words):
    with pytest.raises(UserError, match=re.escape(words)):
        rules.validate(tiny_config(family, **fields))


def test_an_average_of_length_0_needs_no_snapshots():
    rules.validate(tiny_config(**{'evaluation.ema_lengths': (0.0,), 'evaluation.metrics': ('fid',)}))
