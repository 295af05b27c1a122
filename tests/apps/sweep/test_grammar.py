"""``config.sweep``: which fields and values a text means, and what is refused."""

import pytest

from jaxgen.apps.same_run import flatten
from jaxgen.apps.sweep import grammar
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
        ('ddpm', 'model.dtype:float32,bfloat16', 'model.dtype', ['float32', 'bfloat16']),
        ('dcgan', 'augment:,color+cutout', 'gan.augment', ['', 'color,cutout']),
        ('ddpm', 'data.batch_size:16', 'data.batch_size', [16]),
        ('ddpm', 'num_steps:2,4', 'sample.num_steps', [2, 4]),
    ],
)
def test_names_and_types(family, text, field, values):
    config = tiny_config(family)
    found = grammar.settings(text, config)
    assert found == [{field: value} for value in values]
    for setting in found:
        assert type(setting[field]) is type(flatten(config.to_dict())[field])
        assert grammar.parse(grammar.show(setting[field]), field, setting[field]) == setting[field]


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', 'config.sweep is empty: name fields'),
        (' ; ', 'config.sweep is empty'),
        ('timestep:1', "the field 'timestep' does not exist; did you mean timesteps"),
        ('diffusion.timestep:1', "'diffusion.timestep' does not exist; did you mean diffusion.timesteps"),
        ('batch_size:8', "'batch_size' may be data.batch_size or evaluation.batch_size or sample.batch_size: write"),
        ('timesteps', "'timesteps' is not field:value,value"),
        ('timesteps:10,width:8', "'timesteps:10,width:8' is not field:value,value"),
        ('width=8,16', "'16' is not field=value; a list of settings is"),
        ('width:8 | width:16', "'width:8' is not field=value"),
        ('timesteps:10,many', "'many' is no value of config.diffusion.timesteps, which is a whole number .now 20"),
        ('timesteps:10,', "'' is no value of config.diffusion.timesteps"),
        ('timesteps:1e3', "'1e3' is no value of config.diffusion.timesteps"),
        ('learning_rate:nan', "'nan' is no value of config.optimizer.learning_rate, which is a number"),
        ('random_flip:1', "'1' is no value of config.data.random_flip, which is True or False"),
        ('channel_multipliers:1x', "'1x' is no value of .*whole numbers with x between them .now 1"),
        ('timesteps:10;width:8;diffusion.timesteps:20', 'sets config.diffusion.timesteps twice'),
        ('width=8,model.base_channels=16', 'sets config.model.base_channels twice'),
        ('timesteps:10,20,10', 'has the setting timesteps=10 twice'),
        ('width=8,timesteps=20 | width=8', 'has the setting base_channels=8, timesteps=20 twice'),
        ('seed:1,2', 'config.seed cannot be swept, since config.sweeps.seeds says'),
        ('data.name:digits', 'config.data.name cannot be swept, since figures against different references'),
        ('sample.num:4', 'config.sample.num cannot be swept, since it makes no difference'),
        ('evaluation.num:100', 'config.evaluation.num cannot be swept, since it makes no other model'),
        ('sweep:x', 'config.sweep cannot be swept'),
        ('compare.seeds:2', 'config.compare.seeds cannot be swept'),
        ('benchmark.rounds:2', 'config.benchmark.rounds cannot be swept'),
    ],
)
def test_refused_in_one_sentence(text, words):
    with pytest.raises(UserError, match=words):
        grammar.settings(text, tiny_config())
