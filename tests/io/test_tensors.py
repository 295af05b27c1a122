"""Named tensors: nested and flat, and compared with what a network needs."""

import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.io import tensors


def test_nested_tensors_by_joined_names():
    tree = {'params': {'head': {'kernel': 1}, 'bias': 2}, 'step': 3}
    flat = {'params.head.kernel': 1, 'params.bias': 2, 'step': 3}
    assert tensors.flatten(tree) == flat and tensors.unflatten(flat) == tree
    assert tensors.unflatten(tensors.flatten(tree, '/'), '/') == tree


@pytest.mark.parametrize(
    ('found', 'words'),
    [
        ({'a': np.zeros(2)}, 'x: b is missing'),
        ({'a': np.zeros(3), 'b': np.zeros(())}, 'x: a is 3, where the network that is described has 2'),
        ({'a': np.zeros(2), 'b': np.zeros(()), 'c': np.zeros(1)}, 'x: c belongs to no layer'),
    ],
)
def test_tensors_of_another_network_are_refused(found, words):
    with pytest.raises(UserError, match=words):
        tensors.require(found, {'a': (2,), 'b': ()}, 'x')
