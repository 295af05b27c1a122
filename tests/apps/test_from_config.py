"""The options of the library, from the config of the whole program."""

from jaxgen.apps.from_config import options
from jaxgen.methods.options import SampleOptions
from jaxgen.training import CheckpointOptions, MeshOptions, TrainOptions
from tests.tiny import tiny_config


def test_what_is_not_set_is_none():
    config = tiny_config()
    assert options(CheckpointOptions, config.checkpoint) == CheckpointOptions(every=4)
    assert options(TrainOptions, config.train).profile is None
    assert options(MeshOptions, config.mesh).cpu_devices is None
    sample = options(SampleOptions, config.sample)
    assert sample.classes is None and sample.adapter is None and sample.num == 16


def test_what_is_set_is_kept():
    fields = {'train.profile': 5, 'checkpoint.keep_every': 8, 'sample.classes': '7,2', 'sample.adapter_scale': 0.0}
    config = tiny_config(**fields)
    assert options(TrainOptions, config.train).profile == 5
    assert options(CheckpointOptions, config.checkpoint).keep_every == 8
    sample = options(SampleOptions, config.sample)
    assert sample.classes == ('7', '2') and sample.adapter_scale == 0.0
