"""Training from a data set on the device: the same run, bit for bit, as with batches from the host."""

import jax
import numpy as np
import pytest

from tests.helpers.runs import final_state, train
from tests.tiny import tiny_config


@pytest.mark.parametrize('steps_per_dispatch', [1, 4])
def test_the_run_is_the_same_bit_for_bit(tmp_path, steps_per_dispatch):
    def trained(resident):
        fields = {'train.resident_data': resident, 'train.steps_per_dispatch': steps_per_dispatch}
        config = tiny_config(**{'train.steps': 8, 'sample.every': None, **fields})
        train(config, tmp_path / str(resident))
        return final_state(config, tmp_path / str(resident))

    for a, b in zip(jax.tree.leaves(trained(True)), jax.tree.leaves(trained(False)), strict=True):
        np.testing.assert_array_equal(a, b)
