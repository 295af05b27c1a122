"""The masks that a browser sends: a painted one, none, and values that are refused."""

import json

import numpy as np
import pytest

from jaxgen.errors import UserError

painter = pytest.importorskip(
    'jaxgen.apps.demo.tabs.painter', reason='the demo needs Gradio', exc_type=ModuleNotFoundError
)


def test_a_mask_has_the_painted_pixels():
    right = painter.mask(json.dumps({'cells': '0011' * 4}), 4)
    np.testing.assert_array_equal(right[..., 0], np.arange(4)[None] >= np.array([[2]] * 4))
    for nothing in (None, '', '{}', json.dumps({'cells': '0' * 16})):
        assert painter.mask(nothing, 4) is None


@pytest.mark.parametrize('cells', ['1' * 9, '1' * 17, '1'])
def test_a_mask_of_another_size_is_refused(cells):
    with pytest.raises(UserError, match=f'the mask has {len(cells)} pixels, the picture 4x4'):
        painter.mask(json.dumps({'cells': cells}), 4)


@pytest.mark.parametrize(
    'painted', ['[', '[]', '3', json.dumps({'cells': '2' * 16}), json.dumps({'cells': 3}), '[' * 10**5]
)
def test_a_value_not_of_the_painter_is_refused(painted):
    with pytest.raises(UserError, match='the mask is not one that the painter made'):
        painter.mask(painted, 4)
