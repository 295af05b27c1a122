"""What ``--mode=help`` prints."""

import pytest

from jaxgen.apps.config import base, field_names, section_classes
from jaxgen.cli import help
from jaxgen.methods import METHODS
from jaxgen.schema import specs


@pytest.mark.parametrize('family', METHODS)
def test_every_field_is_listed_with_its_value_and_meaning(family):
    text = help.fields(base(family))
    for name in field_names(family):
        assert f'\n  --config.{name}=' in f'\n{text}'
    for options in section_classes(family).values():
        for spec in specs(options).values():
            assert f'      {spec.help} [{spec.expected}]' in text


def test_a_changed_value_shows_its_default():
    draft = base()
    draft.data.batch_size, draft.data.classes = 7, ('dog', 'cat')
    text = help.fields(draft)
    assert '--config.data.batch_size=7 (default: 128)\n' in text
    assert '--config.data.classes=dog,cat (default: None)\n' in text
    assert '--config.data.name=cifar10\n' in text


def test_defaults_are_those_of_the_method():
    assert '--config.train.steps=480\n' in help.fields(base('judge'))
    assert '--config.train.steps=800000\n' in help.fields(base('dcgan'))


def test_only_diffusion_models_list_what_goes_together():
    assert 'mean_flow' in help.fields(base('ddpm')).rpartition('What goes together')[2]
    assert 'What goes together' not in help.fields(base('dcgan'))
