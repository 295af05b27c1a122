"""The config.json of run directories, of this version and of earlier ones."""

import json
import pathlib

import pytest

from jaxgen.apps import rules, stored_config
from jaxgen.apps.config import SHARED, Config
from jaxgen.apps.same_run import NETWORK_FIELDS, RUN_FIELDS, differences, flag, require_same, run_fields
from jaxgen.errors import UserError
from tests.tiny import tiny_config

PRETRAINED = pathlib.Path(__file__).parents[2] / 'pretrained'


def before(config):
    """Return a config as an earlier version stored it: 0, '' and [] where a field is not set, and names as one text."""
    tree = config.to_tree()
    for values in tree.values():
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, list) and all(isinstance(x, str) for x in value):
                values[name] = ','.join(value)
    tree['data'] |= {'max_examples': 0, 'image_size': 0, 'crop': '', 'classes': ''}
    tree['optimizer'] |= {'ema_lengths': []}
    tree['sample'] |= {'classes': '', 'ema_length': 0.0, 'guidance_high': 0.0, 'adapter': ''}
    tree['evaluation'] |= {'batch_size': 0, 'every': 0, 'reference_num': 0, 'generated': '', 'ema_lengths': []}
    tree['finetune'] |= {'base': '', 'base_hash': ''}
    tree['interpret'] |= {'classes': '', 'layer': '', 'channels': ''}
    tree['model'] |= {'attention_head_dim': 0, 'field_that_was': 3}
    tree['sweep'], tree['sweeps'] = 'width:8,16', {'images': 0, 'seeds': 2, 'figure': 'fid'}
    tree['mesh']['cpu_devices'], tree['train']['profile'], tree['checkpoint']['keep_every'] = 0, 0, 0
    return tree | {'section_that_was': {'field': 1}}


def test_an_earlier_version_meant_the_same(tmp_path):
    config = tiny_config(
        **{'sweep.settings': 'width:8,16', 'sweep.seeds': 2, 'sweep.metric': 'fid', 'interop.path': 'x'}
    )
    (tmp_path / 'config.json').write_text(json.dumps(before(config)))
    assert stored_config.read(tmp_path / 'config.json', SHARED) == config.replace(
        {'interop.path': None, 'sample.name': None}
    )


def test_zero_stays_where_it_is_a_value(tmp_path):
    config = tiny_config(**{'benchmark.minutes': 0.0, 'sample.eta': 0.0, 'optimizer.warmup_steps': 0})
    (tmp_path / 'config.json').write_text(json.dumps(before(config)))
    read = stored_config.read(tmp_path / 'config.json', ['benchmark'])
    assert (read.benchmark.minutes, read.sample.eta, read.optimizer.warmup_steps) == (0, 0, 0)


@pytest.mark.parametrize('path', sorted(PRETRAINED.glob('*/config.json')), ids=lambda path: path.parent.name)
def test_the_configs_of_pretrained_models_are_read(path):
    config = stored_config.read(path, SHARED)
    rules.validate(config)
    assert config.method in path.parent.name
    assert Config.from_tree(json.loads(json.dumps(config.to_tree())), SHARED) == config
    assert not [*differences(config.to_tree(), stored_config.modernised(json.loads(path.read_text())), RUN_FIELDS)]


@pytest.mark.parametrize('text', ['', '[]', '3', '{}', '{"family": "vae"}', '{"sizes": [1]}'])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(UserError, match='config.json is not the config.json of a run directory'):
        stored_config.read(tmp_path / 'config.json')
    with pytest.raises(UserError, match=f'^--config={tmp_path}/config.json is not'):
        stored_config.draft(tmp_path / 'config.json')
    with pytest.raises(UserError, match='cannot be read'):
        stored_config.read(tmp_path / 'nothing' / 'config.json')


def test_a_stored_value_that_is_refused_names_its_field(tmp_path):
    tree = tiny_config().to_tree()
    tree['data']['batch_size'] = -3
    (tmp_path / 'config.json').write_text(json.dumps(tree))
    with pytest.raises(UserError, match='^config.data.batch_size=-3 must be at least 1$'):
        stored_config.read(tmp_path / 'config.json')


def test_a_run_goes_on_with_the_fields_that_decide_it():
    config = tiny_config()
    stored = stored_config.modernised(before(config))
    require_same(config.replace({'sample.num': 3, 'train.steps': 99}), stored, RUN_FIELDS, 'there')
    with pytest.raises(
        UserError, match=r'config.model.dropout is 0.5, but .* there was made with 0.1: pass --config.model.dr'
    ):
        require_same(config.replace({'model.dropout': 0.5}), stored, NETWORK_FIELDS, 'there')
    with pytest.raises(
        UserError, match=r"config.data.classes is \['3'\], but .* with None: pass --config.data.classes=None"
    ):
        require_same(config.replace({'data.classes': ('3',)}), stored, NETWORK_FIELDS, 'there')


def test_the_length_of_a_run_counts_if_the_decay_ends_with_it():
    assert 'train.steps' not in run_fields(tiny_config())
    assert 'train.steps' in run_fields(tiny_config(**{'optimizer.decay': 'cosine'}))
    assert 'train.steps' not in run_fields(tiny_config(**{'optimizer.decay': 'cosine', 'optimizer.decay_steps': 9}))


def test_the_flag_that_gives_a_field_a_value():
    assert flag('data.classes', ['3', '8']) == '--config.data.classes=3,8'
    assert flag('data.crop', None) == '--config.data.crop=None'
