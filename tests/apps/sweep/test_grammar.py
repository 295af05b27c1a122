"""``config.sweep.settings``: which fields and values a text means, and what is refused."""

import pytest

from jaxgen import schema
from jaxgen.apps.config import Config
from jaxgen.apps.sweep import grammar, plan
from jaxgen.errors import UserError
from tests.tiny import tiny_config


def test_a_grid_has_all_combinations_the_last_field_running_fastest():
    found = grammar.settings(' timesteps:100,1000 ; width:8, 16;', tiny_config())
    assert found == [{'diffusion.timesteps': t, 'model.base_channels': width} for t in (100, 1000) for width in (8, 16)]


def test_a_list_has_the_configs_own_value_of_a_field_that_others_name():
    found = grammar.settings('width=16, timesteps=100 | dropout=0.5 |', tiny_config())
    assert found == [
        {'model.base_channels': 16, 'diffusion.timesteps': 100, 'model.dropout': 0.1},
        {'model.base_channels': 8, 'diffusion.timesteps': 20, 'model.dropout': 0.5},
    ]


@pytest.mark.parametrize(
    ('family', 'text', 'field', 'values'),
    [
        ('ddpm', 'optimizer.warmup_steps:1_000,0', 'optimizer.warmup_steps', [1000, 0]),
        ('ddpm', 'config.optimizer.learning_rate:1,2e-4', 'optimizer.learning_rate', [1.0, 0.0002]),
        ('ddpm', 'random_flip:True,false', 'data.random_flip', [True, False]),
        ('ddpm', 'channel_multipliers:1,1x2x2', 'model.channel_multipliers', [(1,), (1, 2, 2)]),
        ('ddpm', 'attention_resolutions:,16x8', 'model.attention_resolutions', [(), (16, 8)]),
        ('ddpm', 'optimizer.ema_lengths:None,0.05x0.1', 'optimizer.ema_lengths', [None, (0.05, 0.1)]),
        ('ddpm', 'model.dtype:float32,bfloat16', 'model.dtype', ['float32', 'bfloat16']),
        ('dcgan', 'augment:,color+cutout', 'gan.augment', [None, ('color', 'cutout')]),
        ('ddpm', 'max_examples:None,500', 'data.max_examples', [None, 500]),
        ('ddpm', 'data.batch_size:16', 'data.batch_size', [16]),
        ('ddpm', 'num_steps:2,4', 'sample.num_steps', [2, 4]),
    ],
)
def test_names_and_types(family, text, field, values):
    config = tiny_config(family)
    found = grammar.settings(text, config)
    assert found == [{field: value} for value in values]
    section, _, name = field.partition('.')
    spec = schema.spec(type(config.sections[section]), name)
    for setting, value in zip(found, values, strict=True):
        assert type(setting[field]) is type(value)
        assert grammar.parse(grammar.show(value), field, spec) == value
        config.replace(setting)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', 'config.sweep.settings names no field: write fields and their values'),
        (' ; ', 'config.sweep.settings names no field'),
        ('timestep:1', "the field 'timestep' does not exist; did you mean timesteps"),
        ('diffusion.timestep:1', "'diffusion.timestep' does not exist; did you mean diffusion.timesteps"),
        ('batch_size:8', "'batch_size' may be data.batch_size or sample.batch_size or evaluation.batch_size: write"),
        ('timesteps', "'timesteps' is not field:value,value"),
        ('timesteps:10,width:8', "'timesteps:10,width:8' is not field:value,value"),
        ('width=8,16', "'16' is not field=value; a list of settings is"),
        ('width:8 | width:16', "'width:8' is not field=value"),
        ('timesteps:10,many', "'many' is not a value of config.diffusion.timesteps: timesteps=many must be a whole number"),
        ('timesteps:10,', "'' is not a value of config.diffusion.timesteps"),
        ('timesteps:1e3', "'1e3' is not a value of config.diffusion.timesteps"),
        ('timesteps:0', "'0' is not a value of config.diffusion.timesteps: timesteps=0 must be at least 1"),
        ('learning_rate:nan', "'nan' is not a value of config.optimizer.learning_rate: learning_rate=nan must be finite"),
        ('random_flip:yes', "'yes' is not a value of config.data.random_flip: random_flip=yes must be True or False"),
        ('sampler:ddmi', "'ddmi' is not .* sampler 'ddmi' does not exist; did you mean ddpm or ddim"),
        ('channel_multipliers:1xa', "'1xa' is not .*whole numbers .*; in a sweep, write x instead of the commas"),
        ('timesteps:10;width:8;diffusion.timesteps:20', 'sets config.diffusion.timesteps twice'),
        ('width=8,model.base_channels=16', 'sets config.model.base_channels twice'),
        ('timesteps:10,20,10', 'has the setting timesteps=10 twice'),
        ('width=8,timesteps=20 | width=8', 'has the setting base_channels=8, timesteps=20 twice'),
        ('seed:1,2', 'config.seed cannot be swept, since config.sweep.seeds says'),
        ('data.name:digits', 'config.data.name cannot be swept, since metrics against different references'),
        ('sample.num:4', 'config.sample.num cannot be swept, since it does not change the metrics'),
        ('evaluation.num:100', 'config.evaluation.num cannot be swept, since it does not change the model'),
        ('sweep.settings:x', 'config.sweep.settings cannot be swept'),
        ('compare.seeds:2', 'config.compare.seeds cannot be swept'),
        ('benchmark.rounds:2', 'config.benchmark.rounds cannot be swept'),
    ],
)  # fmt: skip
def test_refused_in_one_sentence(text, words):
    with pytest.raises(UserError, match=words):
        grammar.settings(text, tiny_config())


def test_names_do_not_depend_on_the_sections_that_are_loaded():
    few = Config.from_tree(tiny_config().to_tree(), plan.SECTIONS)
    assert few.sections.keys() < tiny_config().sections.keys()
    for config in (few, tiny_config()):
        with pytest.raises(UserError, match="'seeds' may be compare.seeds or sweep.seeds: write the whole name"):
            grammar.settings('seeds:1,2', config)
