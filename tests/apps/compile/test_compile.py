"""The estimates of ``--mode=compile``: topologies, lower bounds on the time of a step, and the largest batch."""

import re

import jax
import pytest

from jaxgen.apps.compile import compile as compiling
from jaxgen.apps.compile.chips import CHIPS, Chip
from jaxgen.apps.compile.compile import bounds
from jaxgen.errors import UserError
from jaxgen.runtime.mesh import make_mesh
from tests.tiny import tiny_config


@pytest.mark.parametrize('topology', ['v5e:2x4', 'v5p:2x2x1', 'v6e:4x4'])
def test_every_chip_has_topologies(topology):
    assert tiny_config(**{'compile.topology': topology}).compile.topology.partition(':')[0] in CHIPS


@pytest.mark.parametrize('topology', ['v4:2x2x1', 'v5e', 'v5e:8', 'v5e:2x4x', '2x4'])
def test_a_topology_of_unknown_chips_or_shape_is_refused(topology):
    words = f'config.compile.topology={topology} is not a TPU slice of v5e, v5p, v6e: write it as in v5e:2x4'
    with pytest.raises(UserError, match=re.escape(words)):
        tiny_config(**{'compile.topology': topology})


def test_bounds_are_those_of_the_data_sheet():
    chip = Chip(flops=100.0, memory=1.0, bandwidth=10.0, interconnect=5.0)
    found = bounds(1000.0, 50.0, {'all-reduce': (1, 100), 'all-gather': (2, 100)}, chip, 4)
    assert found == {'arithmetic': 10.0, 'memory': 5.0, 'interconnect': pytest.approx(0.75 * 300 / 5)}


@pytest.mark.parametrize(
    'limit, temporaries, tried, best',
    [
        (130, 120, [128, 256], 128),  # the first guess: 16 images take 120 of 960 free bytes, so 8 times as many fit
        (130, 60, [256, 128], 128),
        (130, 960, [32, 64, 128, 256], 128),
        (20, 120, [128, 64, 32], 16),
        (5, None, [8, 4], 4),
        (1, None, [8, 4], None),
    ],
)
def test_the_largest_batch_is_found_from_any_guess(monkeypatch, limit, temporaries, tried, best):
    compiled = []

    def lower(config, mesh):
        compiled.append(config.data.batch_size)
        return config.data.batch_size

    monkeypatch.setattr(compiling, 'lower_train', lower)
    monkeypatch.setattr(compiling, '_compiled', lambda size: (size if size <= limit else None, ''))
    chip = Chip(flops=1.0, memory=1000, bandwidth=1.0, interconnect=1.0)
    train = {'fits': temporaries is not None, 'memory': {'arguments': 40, 'temporaries': temporaries}}
    found = compiling._largest_batch(tiny_config(), make_mesh(1, jax.devices()[:4]), chip, train)
    assert (compiled, found) == (tried, best)
