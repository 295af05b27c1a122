"""Training from a data set on the device: the same run, bit for bit, as with batches from the host."""

import jax
import numpy as np
import pytest

from jaxgen import data
from jaxgen.apps.untrained import build_method
from jaxgen.runtime.random import root_key
from jaxgen.training import loop
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.step import initial, state_template
from tests.tiny import tiny_config


@pytest.mark.parametrize('steps_per_dispatch', [1, 4])
def test_the_run_is_the_same_bit_for_bit(tmp_path, steps_per_dispatch):
    dataset = data.load('digits', 'train')

    def trained(resident):
        fields = {'train.resident_data': resident, 'train.steps_per_dispatch': steps_per_dispatch}
        config = tiny_config(**{'train.steps': 8, 'sample.every': 100, **fields})
        method = build_method(config, (8, 8, 1), 10)
        workdir = tmp_path / str(resident)
        loop.train(config, method, dataset, loop.epath.Path(workdir))
        template = state_template(initial(method, root_key(config.seed, config.train.prng)), loop.make_mesh())
        return Checkpoints(loop.epath.Path(workdir) / 'checkpoints', read_only=True).restore_newest(template, print)[1]

    for a, b in zip(jax.tree.leaves(trained(True)), jax.tree.leaves(trained(False)), strict=True):
        np.testing.assert_array_equal(a, b)
