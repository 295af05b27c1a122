"""The files in configs/: their headers, and the numbers that they state."""

import importlib
import pathlib
import re

import jax
import pytest

from jaxgen.apps.benchmark.describe import training_flops
from jaxgen.apps.config import Config
from jaxgen.apps.rules import validate
from jaxgen.apps.untrained import build, build_method
from jaxgen.data import SOURCES
from jaxgen.errors import UserError
from jaxgen.models import convolutions
from jaxgen.models import unet as unet_module

ROOT = pathlib.Path(__file__).parents[1]


def test_every_config_says_how_long_and_what_comes_out():
    """The header of each file, for the file and for each of its variants: command, hardware, hours, result."""
    for path in sorted((ROOT / 'configs').glob('*.py')):
        text = path.read_text()
        header = text.split('"""')[1]
        variants = re.findall(r"variant == '(\w+)'", text)
        for name in [path.name, *(f'{path.name}:{v}' for v in variants)]:
            assert re.search(
                rf'^python main.py --config=configs/{re.escape(name)}( --config.data.path=FOLDER)?$', header, re.M
            )
        for word in ('Hardware', 'Hours', 'Expect'):
            assert header.count(word) == 1 + len(variants), (path, word)


@pytest.mark.parametrize(
    ('name', 'counts'),
    [
        ('ddpm_cifar', {'': [35_746_307], 'edm': [1_585_116], 'cnn': [722_412]}),
        ('dcgan_cifar', {'': [1_479_528, 665_856]}),
        ('r3gan_cifar', {'': [20_781_952, 21_280_512], 'small': [256_112, 256_752]}),
        ('ddpm_dogs', {'': [113_673_219], 'small': [1_651_376]}),
        ('dcgan_dogs', {'': [4_407_904, 2_827_008]}),
        ('judge_cifar', {'': [1_971_328]}),
    ],
)
def test_the_numbers_of_parameters_that_configs_state(name, counts):
    text = (ROOT / 'configs' / f'{name}.py').read_text()
    module = importlib.import_module(f'configs.{name}')
    for variant, expected in counts.items():
        config = Config.from_tree(module.get_config(*filter(None, [variant])).to_dict())
        source = SOURCES[config.data.name]
        side = config.data.image_size or source.image_size
        family = build_method(config, (side, side, source.channels), len(source.class_names))
        model = jax.eval_shape(family.init, jax.random.key(0))
        got = [sum(x.size for x in jax.tree.leaves(params)) for params in family.networks(model).values()]
        assert got == expected
        assert all(f'{count:,}' in text for count in expected)


def test_the_cnn_does_the_work_of_the_unet(monkeypatch):
    """They are compared at equal work of a training step, counted as accelerators do it; a CPU saves 5% in upsampling."""
    monkeypatch.setattr(unet_module, 'upsample_conv', convolutions._enlarged)
    get_config = importlib.import_module('configs.ddpm_cifar').get_config
    unet, cnn = (Config.from_tree(get_config(variant).to_dict()) for variant in ('edm', 'cnn'))
    work = [training_flops(c, build_method(c, (32, 32, 3), 10)) for c in (unet, cnn)]
    assert work[1] == pytest.approx(work[0], rel=0.04) and work[0] > 8e8


@pytest.mark.parametrize(
    ('name', 'variant', 'side'),
    [
        *(
            ('ddpm_folder', variant, side)
            for variant, side in (('', 64), ('small', 64), ('32', 32), ('128', 128), ('256', 256))
        ),
        *(('dcgan_folder', variant, side) for variant, side in (('', 64), ('small', 64), ('32', 32), ('128', 128))),
    ],
)
def test_networks_for_your_own_images_take_each_side(name, variant, side):
    draft = importlib.import_module(f'configs.{name}').get_config(*filter(None, [variant]))
    draft.data.class_names, draft.data.channels = ('a', 'b'), 3
    config = Config.from_tree(draft.to_dict(), ['evaluation'])
    validate(config)
    assert config.data.image_size == side
    family, classes = build(config)
    assert classes == ('a', 'b') and family.image_shape == (side, side, 3)
    model = jax.eval_shape(family.init, jax.random.key(0))
    assert all(jax.tree.leaves(params) for params in family.networks(model).values())


@pytest.mark.parametrize('name', ['ddpm_folder', 'dcgan_folder'])
def test_a_side_without_a_network_is_one_sentence(name):
    with pytest.raises(UserError, match=f"configs/{name}.py has no variant '48'; it has small, 32, 64, 128"):
        importlib.import_module(f'configs.{name}').get_config('48')
