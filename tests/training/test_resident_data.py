"""Training from a data set on the device: the same run, bit for bit, as with batches from the host."""

import jax
import numpy as np

from tests.helpers.runs import final_state, train
from tests.tiny import tiny_config


def test_the_run_is_the_same_bit_for_bit(tmp_path):
    """The dispatches have four steps, and the last has one."""

    def trained(resident):
        fields = {'train.steps': 9, 'train.steps_per_dispatch': 4, 'train.resident_data': resident}
        config = tiny_config(**{'sample.every': None, **fields})
        train(config, tmp_path / str(resident))
        return final_state(config, tmp_path / str(resident))

    for a, b in zip(jax.tree.leaves(trained(True)), jax.tree.leaves(trained(False)), strict=True):
        np.testing.assert_array_equal(a, b)
